"""Words of others, as they may stand among ours: bounded, and without what steers a terminal or a reader's eye.

What a guest, a container or a service says is data. Control characters, escapes, marks that turn the direction of a
line and those of no width become blanks; a name that holds anything unusual is shown quoted, so that it can't end its
line or pretend to be the next one.
"""

from __future__ import annotations

import json
import re
import unicodedata

LINES, WIDTH = 20, 500  # of what somebody said, and characters of each
_NAME = re.compile(r"[\w@%+=:,./?*-]{1,200}", re.ASCII)
_TAKEN = 1 << 16  # characters that are looked at


def harmless(text: str) -> bool:
    """Whether a text is one line without control characters."""
    return (text.isascii() and text.isprintable()) or not any(steers(c) for c in text)


def steers(character: str) -> bool:
    """Whether a character does more than to be seen: it moves, hides, turns round or ends what stands there."""
    kind = unicodedata.category(character)
    return kind[0] == "C" or kind in ("Zl", "Zp")


def line(text: str, width: int = WIDTH) -> str:
    """A text as one short line."""
    part = text[: 2 * width]
    return " ".join("".join(" " if steers(c) else c for c in part).split())[:width]


def last(text: str, most: int = LINES, width: int = WIDTH) -> str:
    """The last lines of a text."""
    return "\n".join(harmlessly(one, width) for one in text[-_TAKEN:].splitlines()[-most:])


def harmlessly(text: str, width: int = WIDTH) -> str:
    """A text as one line, with a blank for each character that does more than to be seen."""
    return "".join(" " if steers(c) else c for c in text[:width])


def name(text: str) -> str:
    """A name as it is where it is a usual one, else in quotes, blanks and all else written out."""
    if _NAME.fullmatch(text):
        return text
    return json.dumps(text[:200]).replace(" ", "\\x20")
