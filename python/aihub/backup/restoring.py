"""Puts copies back: whoever uses the data is stopped, what is there now is copied aside, and the copy takes its place.

Killed anywhere, the same command can be run again: it begins anew, and who was stopped runs once it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from aihub import names, ssh
from aihub.errors import HubError, PreconditionFailed, TaskFailed
from aihub.model.resolved import Hub
from aihub.screen import Progress
from aihub.state.directory import State

from . import versions
from .listing import Copies, Copy
from .parts import SNAPSHOT, Part

PROGRAM = "/usr/local/bin/hub-backup"
_SECONDS = 12 * 3600.0
_UNIT_SECONDS = 1800.0


@dataclass(frozen=True)
class Restored:
    """A part, and the copy that takes its place."""

    part: Part
    copy: Copy


def choose(found: Sequence[Copies], moment: datetime | None) -> tuple[Restored, ...]:
    """The newest copy of each part at a moment, or of all times.

    Raises PreconditionFailed for a part that has none, or that can't be put back by this.
    """
    for one in found:
        if one.part.sort == SNAPSHOT:
            raise PreconditionFailed("the store of secrets is not put back by this version", where=one.part.owner)
        if one.error:
            raise TaskFailed(one.error, where=one.part.name)
    return tuple(Restored(one.part, one.at(moment)) for one in found)


def refuse_newer(hub: Hub, state: State, wanted: Sequence[Restored]) -> None:
    """Raises PreconditionFailed for a copy that a newer program wrote than the one that is to read it."""
    for one in wanted:
        if found := versions.newer(state, hub.instance(one.part.keeper), one.copy.at):
            raise PreconditionFailed(
                f"its copy of {_when(one.copy)} was written by {found[0]}, and {found[1]} is to read it",
                where=one.part.name,
                hint="put the newer version into its compose.yml first, or choose an earlier copy by --at",
            )


def disturbed(hub: Hub, wanted: Sequence[Restored]) -> tuple[str, ...]:
    """The instances that are stopped meanwhile, in the order in which they start: whose data it is."""
    owners = {one.part.owner for one in wanted}
    return tuple(instance.name for instance in hub.instances if instance.name in owners)


def restore(
    hub: Hub,
    state: State,
    wanted: Sequence[Restored],
    make_anew: Callable[[str], None],
    progress: Progress,
    *,
    aside: bool,
) -> None:
    """Puts these copies back. `make_anew` makes at an instance what its consumers' logins need there and is gone.

    With `aside` what is there now is copied first. Raises what the first failure was; who was stopped runs again then.
    """
    stopped = disturbed(hub, wanted)
    try:
        for name in reversed(stopped):
            progress(name, "stops")
            control(state, "stop", name)
        if aside:
            _copy_aside(state, wanted, progress)
        for keeper in dict.fromkeys(one.part.keeper for one in wanted if one.part.consumer):
            here = [one for one in wanted if one.part.keeper == keeper and one.part.consumer]
            _dumps(state, keeper, here, make_anew, progress)
        for one in wanted:
            if one.part.consumer is None:
                progress(one.part.name, f"takes the copy of {_when(one.copy)}")
                _run(state, one.part.guest, "put", one.part.stack, one.copy.id)
                progress.done(one.part.name, f"as it was {_when(one.copy)}")
    finally:
        failed = _start(state, stopped, progress)
    if failed:
        raise failed[0]


def _copy_aside(state: State, wanted: Sequence[Restored], progress: Progress) -> None:
    for keeper in dict.fromkeys(one.part.keeper for one in wanted):
        stack, _, guest = keeper.rpartition("@")
        progress(keeper, "what is there now is copied")
        try:
            _run(state, guest, "aside", stack)
        except HubError as error:
            error.hint = "if what is there now is not worth keeping: the same command with --no-backup"
            raise
        progress.done(keeper, "what was there is copied")


def _dumps(
    state: State, keeper: str, wanted: Sequence[Restored], make_anew: Callable[[str], None], progress: Progress
) -> None:
    stack, _, guest = keeper.rpartition("@")
    for one in wanted:
        if one.part.consumer:
            progress(one.part.name, "is emptied")
            _run(state, guest, "clear", stack, one.part.consumer.role)
    make_anew(keeper)
    for one in wanted:
        if one.part.consumer:
            progress(one.part.name, f"takes the copy of {_when(one.copy)}")
            _run(state, guest, "load", stack, one.part.consumer.role, one.copy.id)
            progress.done(one.part.name, f"as it was {_when(one.copy)}")


def _run(state: State, guest: str, *words: str) -> None:
    ssh.run(state, guest, [PROGRAM, *words], timeout=_SECONDS)


def control(state: State, action: str, name: str) -> None:
    """Stops or starts an instance by its unit, called STACK@GUEST by where it stands."""
    stack, _, guest = name.rpartition("@")
    ssh.run(state, guest, ["systemctl", action, names.unit(stack)], timeout=_UNIT_SECONDS)


def _start(state: State, stopped: Sequence[str], progress: Progress) -> list[HubError]:
    """They run again, each whatever became of the others."""
    failed: list[HubError] = []
    for name in stopped:
        try:
            progress(name, "starts")
            control(state, "start", name)
            progress.done(name, "runs")
        except HubError as error:
            progress.failed(name, error.what)
            failed.append(error)
    return failed


def _when(copy: Copy) -> str:
    return f"{copy.at.astimezone():%Y-%m-%d %H:%M}"
