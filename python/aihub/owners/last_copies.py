"""The last copies: of what an agreed plan removes with its data. Where one can't be made, nothing is removed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aihub import names, ssh, words
from aihub.backup.restoring import PROGRAM
from aihub.errors import HubError, InvalidInput, PreconditionFailed
from aihub.model.resolved import Instance
from aihub.plan import Change
from aihub.proxmox.state import ActualGuest
from aihub.reading import load
from aihub.render import copying

from . import kept, undeclared
from .run import Run

_SECONDS = 12 * 3600.0
_CONFIG = "/etc/hub/backup.json"
_ROLE = r"[a-z][a-z0-9_.-]{0,62}"  # what can be a consumer's name at its provider
_HINT = "if it is not worth a copy: the same command with --no-backup"

Copying = Callable[[], str]
"""Makes a copy, and says what became of it."""


def make(run: Run) -> None:
    """Copies what goes, one after the other. Raises PreconditionFailed for what could not be copied."""
    if run.options.no_backup or not run.hub.copiers:
        return
    todo = dict(_wanted(run))
    if not todo:
        return
    with run.screen.progress("last copies") as progress:
        for subject, copy in todo.items():
            progress(subject, "is copied before it goes")
            try:
                progress.done(subject, copy())
            except HubError as error:
                progress.failed(subject, words.line(error.what))
                text = f"no last copy could be made, so nothing was removed: {error.what}"
                raise PreconditionFailed(text, where=subject, hint=_HINT) from error


def _wanted(run: Run) -> Iterator[tuple[str, Copying]]:
    """What is to be copied, by the subjects of the changes that remove it."""
    for change in run.plan.changes:
        if change.action != "delete" or not change.data_at_risk:
            continue
        if change.owner == "guests":
            have = run.guests.guests[int(change.details["vmid"])]
            yield change.subject, lambda have=have: _guest(run, have)  # type: ignore[misc]
        elif change.owner == "insides":
            yield change.subject, lambda change=change: _volumes(run, change)  # type: ignore[misc]
        elif change.owner == "services" and change.holder in {one.name for one in run.hub.instances}:
            yield change.subject, lambda change=change: _object(run, change)  # type: ignore[misc]


def _guest(run: Run, have: ActualGuest) -> str:
    """Everything that a guest copies every night."""
    by_number = {guest.vmid: guest for guest in run.hub.guests.values()}
    known = by_number.get(have.vmid)
    if known and have.marker and have.marker.guest == known.id and have.running:
        way: Sequence[str] = ssh.argv(run.state, known.name)
    else:
        way = undeclared.argv(run.state, have)
    if ssh.run(run.state, have.name, ["test", "-e", _CONFIG], way=way, check=False).returncode:
        return "nothing on it is copied"
    ssh.run(run.state, have.name, ["systemctl", "start", "hub-backup.service"], way=way, timeout=_SECONDS)
    return "copied for the last time"


def _volumes(run: Run, change: Change) -> str:
    """The volumes of an instance that nobody declares; of a stack that is known, only those that are copied at all."""
    guest, stack = change.details["guest"], change.details["stack"]
    skip: list[str] = []
    with suppress(InvalidInput):  # its folder may be gone, or half written
        known = run.hub.stacks.get(stack) or load.stack(stack)
        skip = [one.volume for one in known.data if one.backup == "none"]
        if len(skip) == len(known.data):
            return "nothing of it is copied"
    left = {"id": change.holder, "folder": names.data(stack), "skip": skip, "dumps": []}
    return _last(run, guest, stack, left)


def _object(run: Run, change: Change) -> str:
    """What a consumer that is gone has at its provider."""
    provider, role = run.hub.instance(change.holder), change.subject.rpartition(" ")[2]
    dumps = list(_dumps(run, provider, role))
    if not dumps:
        return "nothing of it is copied"
    if not re.fullmatch(_ROLE, role):
        raise PreconditionFailed(f"no consumer can be called {role}", where=provider.name)
    left = {"id": dumps[0]["id"], "folder": "", "skip": [], "dumps": dumps}
    return _last(run, provider.guest.name, provider.stack.name, left)


def _dumps(run: Run, provider: Instance, role: str) -> Iterator[dict[str, Any]]:
    whose = kept.owner(run.hub, role) or f"{provider.id}/{role}"
    for kind, offer in provider.stack.gives.items():
        if offer.dump:
            yield {"id": whose, "kind": kind, "role": role, "dump": copying.run_for(provider, offer.dump, role)}


def _last(run: Run, guest: str, stack: str, left: Mapping[str, Any]) -> str:
    if ssh.run(run.state, guest, ["test", "-e", _CONFIG], check=False).returncode:
        raise PreconditionFailed("its guest makes no copies any more", where=guest)
    ssh.run(run.state, guest, [PROGRAM, "last", stack], stdin=json.dumps(left).encode(), timeout=_SECONDS)
    return "copied for the last time"
