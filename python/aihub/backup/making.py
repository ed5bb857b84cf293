"""Has guests make copies now, by the same units that make them at night."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from aihub import parallel, ssh, words
from aihub.errors import HubError, TaskFailed
from aihub.screen import Progress
from aihub.state.directory import State

from .parts import Part

UNIT = "hub-backup@{}.service"
_SECONDS = 12 * 3600.0  # as the unit itself
_RESULT = "/var/lib/hub-backup/{}.json"
_Text = Annotated[str, Field(max_length=4096)]


class _Result(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    began: float
    ended: float
    errors: Annotated[list[_Text], Field(max_length=200)]
    made: Annotated[list[dict[str, Any]], Field(max_length=1000)]
    whole: dict[str, Any]


def make(state: State, wanted: Sequence[Part], progress: Progress) -> dict[str, HubError]:
    """Copies these parts, and all else that the same units copy; gives the errors by instance.

    One instance after the other on each guest: what is stopped for its copy is stopped alone.
    """
    by_guest: dict[str, list[str]] = {}
    for keeper in dict.fromkeys(part.keeper for part in wanted):
        by_guest.setdefault(keeper.rpartition("@")[2], []).append(keeper)
    failed: dict[str, HubError] = {}

    def copy(guest: str) -> None:
        for keeper in by_guest[guest]:
            try:
                progress(keeper, "is copied")
                one(state, guest, keeper.rpartition("@")[0])
                progress.done(keeper, "copied")
            except HubError as error:
                failed[keeper] = error
                progress.failed(keeper, words.line(error.what))

    parallel.all_of(parallel.on_each(by_guest, copy))
    return failed


def one(state: State, guest: str, stack: str) -> None:
    """Has one instance copied. Raises TaskFailed with what its guest says of it."""
    try:
        ssh.run(state, guest, ["systemctl", "start", UNIT.format(stack)], timeout=_SECONDS)
    except TaskFailed as error:
        said = ssh.run(state, guest, ["cat", _RESULT.format(stack)], check=False)
        errors = ssh.answer(guest, said.stdout, _Result)["errors"] if said.returncode == 0 else []
        why = "; ".join(words.line(text) for text in errors) or error.what
        raise TaskFailed(
            why, where=f"{stack}@{guest}", hint=f"aihub ssh {guest} -- journalctl -u {UNIT.format(stack)}"
        ) from error
