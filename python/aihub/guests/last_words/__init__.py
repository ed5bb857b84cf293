"""Why instances do not run: the last words of their units, containers and health checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aihub import ssh
from aihub.errors import HubError
from aihub.guests.ansible import plain
from aihub.state.directory import State

_PROGRAM = Path(__file__).with_name("on_guest.py")
_LINES = 40


def told(state: State, guest: str, stacks: Sequence[str]) -> dict[str, str]:
    """For each stack on a guest what it said last, bounded; or why nobody can say so."""
    try:
        words = ssh.ask(state, guest, _PROGRAM, {"stacks": list(stacks)}, timeout=120)["words"]
        return {stack: plain("\n".join(map(str, words[stack])), _LINES) for stack in stacks}
    except (HubError, KeyError, TypeError) as error:
        return dict.fromkeys(stacks, plain(f"its last words are not known: {error}"))
