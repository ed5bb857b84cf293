"""Which copies there are, as the machine that keeps them says; a guest is not asked about its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Required

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from aihub import parallel, ssh, words
from aihub.errors import HubError, PreconditionFailed
from aihub.model.resolved import Hub, Instance
from aihub.model.stack import COPIES
from aihub.render import copying
from aihub.state.directory import State

from .parts import Part

LATE = timedelta(hours=26)
"""A copy is made every night: what is older than that, and an hour or two, is missing one."""

_Text = Annotated[str, Field(max_length=4096)]


class _Size(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="ignore")  # type: ignore[misc]

    total_bytes_processed: int
    total_files_processed: int


class _Snapshot(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="ignore")  # type: ignore[misc]

    id: Required[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    original: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    time: _Text
    tags: list[_Text]
    summary: _Size


class Listed(TypedDict):
    """What who keeps copies says of a guest's."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    snapshots: list[_Snapshot]
    removal: _Text
    reading: _Text


@dataclass(frozen=True)
class Copy:
    """One snapshot of a part."""

    id: str
    at: datetime
    size: int  # bytes, before what is equal is kept once
    files: int
    aside: bool  # made before something was put back over it
    original: str = ""  # the id of which it is a copy that was taken over


@dataclass(frozen=True)
class Copies:
    """The snapshots of a part, the newest first, and how its repository was looked after."""

    part: Part
    copies: tuple[Copy, ...] = ()
    removal: str = ""
    reading: str = ""
    error: str = ""

    @property
    def newest(self) -> Copy | None:
        """The newest that the hub made by itself or was asked for."""
        return next((one for one in self.copies if not one.aside), None)

    def late(self, now: datetime) -> bool:
        """Whether the newest is older than a night, or there is none."""
        return self.newest is None or now - self.newest.at > LATE

    @property
    def wrong(self) -> str:
        """What was wrong when the repository was last tidied up or read; empty where nothing was."""
        return "; ".join(one for one in (self.removal, self.reading) if one and " done" not in one)

    def at(self, moment: datetime | None) -> Copy:
        """The newest at a moment. Raises PreconditionFailed where there is none."""
        fitting = [one for one in self.copies if not one.aside and (moment is None or one.at <= moment)]
        if not fitting:
            when = f" from before {moment.astimezone():%Y-%m-%d %H:%M}" if moment else ""
            raise PreconditionFailed(f"there is no copy{when}", where=self.part.name, hint="aihub backups")
        return fitting[0]


ASIDE = "aside"
"""The tag of a snapshot that was made before something was put back over what it holds."""


def look(hub: Hub, state: State, wanted: Sequence[Part]) -> tuple[Copies, ...]:
    """The copies of these parts; a repository that can't be looked into is told as the error of its parts."""
    guests = list(dict.fromkeys(part.guest for part in wanted))
    found = parallel.on_each(guests, lambda guest: _listed(hub, state, guest))
    return tuple(copies(part, found[part.guest]) for part in wanted)


def _listed(hub: Hub, state: State, guest: str) -> Listed:
    (own,) = hub.uses(hub.copiers[guest])
    return listed(state, hub.instance(own.provider), own.role)


def listed(state: State, keeper: Instance, role: str) -> Listed:
    """The copies of a guest, by what it is called by who keeps them."""
    program, guest = keeper.stack.gives[COPIES].listing, keeper.guest.name
    if program is None:
        raise HubError("nothing says how copies are listed", where=f"stacks/{keeper.stack.name}/stack.yml")
    output = ssh.run(state, guest, copying.run_for(keeper, program, role), timeout=120).stdout
    return ssh.answer(guest, output, Listed)


def copies(part: Part, found: Listed | HubError) -> Copies:
    """Those of a part among them."""
    if isinstance(found, HubError):
        return Copies(part, error=words.line(found.what))
    made = [_copy(one) for one in found["snapshots"] if {part.tag, part.sort} <= set(one.get("tags", ()))]
    ordered = tuple(sorted(made, key=lambda one: one.at, reverse=True))
    return Copies(part, ordered, words.line(found["removal"]), words.line(found["reading"]))


def _copy(one: _Snapshot) -> Copy:
    counts = one.get("summary", _Size())
    return Copy(
        one["id"],
        _moment(one.get("time", "")),
        counts.get("total_bytes_processed", 0),
        counts.get("total_files_processed", 0),
        ASIDE in one.get("tags", ()),
        one.get("original", ""),
    )


def _moment(text: str) -> datetime:
    """A snapshot's time, which its guest wrote; the beginning of all where that is none."""
    try:
        return datetime.fromisoformat(text[:26] + text[-6:] if len(text) > 32 else text).astimezone(UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
