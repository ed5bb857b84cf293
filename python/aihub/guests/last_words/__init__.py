"""Why instances do not run: the last words of their units, containers and health checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from typing_extensions import TypedDict

from aihub import ssh, words
from aihub.errors import HubError
from aihub.state.directory import State

_PROGRAM = Path(__file__).with_name("on_guest.py")
_LINES = 40
_SECONDS = 30.0


class Told(TypedDict):
    """What the program answers: lines by stack."""

    words: dict[str, list[str]]


def told(state: State, guest: str, stacks: Sequence[str]) -> dict[str, str]:
    """For each stack on a guest what it said last, bounded; or why nobody can say so."""
    try:
        said = ssh.ask(state, guest, _PROGRAM, {"stacks": list(stacks)}, Told, timeout=_SECONDS)["words"]
        return {stack: words.last("\n".join(said[stack][-_LINES:]), _LINES) for stack in stacks}
    except (HubError, KeyError) as error:
        return dict.fromkeys(stacks, words.line(f"its last words are not known: {error}"))
