"""Stops, starts and restarts what a person names: a guest at Proxmox, or an instance by its unit."""

from __future__ import annotations

from typing import Literal

from aihub import names, report, ssh
from aihub.errors import TaskFailed
from aihub.guests import last_words
from aihub.model.resolved import Hub
from aihub.proxmox.guests import provision

from ..errors import DONE, PreconditionFailed
from ..options import Options
from ..owners import guests, resets
from ..owners.choice import named
from ..owners.run import Run, find_target, opened, perform, take_lease

Action = Literal["stop", "start", "restart"]
_SECONDS = 1800.0  # that a unit may take: it waits until its containers are healthy
_DONE = {"stop": "stopped; `aihub start` or the next `aihub up` starts it", "start": "runs", "restart": "runs again"}


def run(options: Options, action: Action) -> int:
    """Says first who is disturbed; a person agrees to that where people are."""
    (name,) = options.only
    with opened(options, action, report, locked=True) as found:
        guest, stack = named(found.hub, name)
        perform(found, (find_target,))
        if action != "start":
            if not stack:
                found.guests = guests.read(found)
                resets.refuse_power(found, name, action)
            _agree(found, name, action)
        perform(found, (take_lease,))
        with report.progress(f"{action} {name}") as progress:
            if stack:
                _unit(found, guest, stack, action)
            else:
                provision.power(found.proxmox(), found.hub, found.journal, progress, guest, action)
            progress.done(name, _DONE[action])
    return DONE


def _agree(run: Run, name: str, action: Action) -> None:
    if users := disturbed(run.hub, name):
        report.say(f"{name} is used by {', '.join(users)}")
    if run.hub.target.needs_people and not run.options.yes and not report.confirm(f"{action.capitalize()} {name}?"):
        raise PreconditionFailed("not confirmed: nothing was changed", hint="the same command with --yes")


def disturbed(hub: Hub, name: str) -> list[str]:
    """The instances elsewhere that use an instance, or those of a guest."""
    here = {one.name for one in hub.instances if name in (one.name, one.guest.name)}
    return sorted({one.consumer for one in hub.consumers if one.provider in here} - here)


def _unit(run: Run, guest: str, stack: str, action: Action) -> None:
    """Its unit waits until it is healthy; where it does not get so, its last words say why."""
    try:
        ssh.run(run.state, guest, ["systemctl", action, names.unit(stack)], timeout=_SECONDS)
    except TaskFailed as error:
        said = last_words.told(run.state, guest, [stack])[stack]
        raise TaskFailed(f"{error.what}\n{said}", where=f"{stack}@{guest}", hint="aihub up") from error
