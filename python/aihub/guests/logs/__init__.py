"""What a guest's journal, or an instance's unit and containers say, line by line while they say it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from aihub import ssh, words
from aihub.errors import BadAnswer
from aihub.state.directory import State

_PROGRAM = Path(__file__).with_name("on_guest.py")
_WIDTH = 4096  # bytes
_SECONDS, _FOLLOWED = 120.0, 86_400.0
_MOST, _MOST_FOLLOWED = 64 << 20, 64 << 30  # bytes; none of them is kept


def told(
    state: State, guest: str, stack: str = "", *, lines: int = 100, follow: bool = False
) -> Generator[str, None, None]:
    """The last lines of a stack on a guest, or of the guest's journal; then, to follow, a day of what is said next.

    Each is one line without what steers a terminal, and without the values of the secrets that it could hold. Raises
    Unreachable when the guest does not answer to the end, BadAnswer for an answer of another shape.
    """
    request = {"stack": stack, "lines": lines, "follow": follow}
    seconds, most = (_FOLLOWED, _MOST_FOLLOWED) if follow else (_SECONDS, _MOST)
    with ssh.stream(state, guest, _PROGRAM, request, timeout=seconds, most=most) as said:
        while (line := said.line(_WIDTH)) != b".":
            if not line.startswith(b"="):
                raise BadAnswer("what it answered are no lines of a log", where=guest)
            yield words.harmlessly(line[1:].decode(errors="replace"), _WIDTH)
