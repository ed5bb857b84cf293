"""Reads a text file that a person wrote: regular, of sane size, UTF-8, without characters that nobody sees.

What others wrote, as their key files, need only be regular and of sane size.
"""

from __future__ import annotations

import os
import re
import stat
from itertools import islice
from pathlib import Path

from aihub.errors import InvalidInput, Problem

MAX_BYTES = 1 << 20
UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]"
)
"""Control characters, and characters that are invisible or reorder text."""
_LONE_RETURN = re.compile("\r(?!\n)")
_CONFLICT = re.compile(r"^(<<<<<<<|=======|>>>>>>>)( |$)", re.MULTILINE)
_FAULTS = (
    (UNSEEN, "character {0} is invisible or reorders text: remove it"),
    (_LONE_RETURN, "a carriage return without a line feed: end lines with a line feed"),
    (_CONFLICT, "a conflict marker of git: finish the merge"),
)
MOST = 50
"""Faults of a kind that are told at once: a file of another kind may have a million."""


def read(path: Path, *, name: str = "") -> str:
    """The text of a regular file of sane size and characters. Raises InvalidInput."""
    shown = name or str(path)
    raw = _bytes(path, shown)
    try:
        found = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        message = f"byte 0x{raw[error.start]:02x}: save the file as UTF-8"
        raise InvalidInput([_fault(shown, before, message)]) from error
    faults = [
        _fault(shown, found[: match.start()], message.format(f"U+{ord(match[0][0]):04X}"))
        for pattern, message in _FAULTS
        for match in islice(pattern.finditer(found), MOST)
    ]
    if faults:
        raise InvalidInput(sorted(faults))
    return found


def read_foreign(path: Path) -> str:
    """The text of a file that others may have written in their own way: what is no UTF-8 is no letter, and no reason.

    Raises InvalidInput.
    """
    return _bytes(path, str(path)).decode("utf-8-sig", "replace")


def _bytes(path: Path, shown: str) -> bytes:
    """At most MAX_BYTES of a regular file; never waits for a pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput([Problem(shown, 0, 0, "", f"can't be read: {reason}")]) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InvalidInput([Problem(shown, 0, 0, "", "is not a regular file")])
    with os.fdopen(handle, "rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise InvalidInput([Problem(shown, 0, 0, "", f"is larger than {MAX_BYTES >> 20} MiB")])
    return raw


def _fault(file: str, before: str, message: str) -> Problem:
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return Problem(file, line, column, "", message)
