"""What a rule found wrong, by its place in the file's data; the loader adds file, line and column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """One thing wrong at a place in the data; `at_key` points at the key instead of its value."""

    place: Place
    message: str
    at_key: bool = False


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "db"?`, or what there is to choose from."""
    names = sorted(name for name in set(known) if name.isprintable())  # names that are wrong themselves may be anything
    close = get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f'; did you mean "{close[0]}"?'
    if not names:
        return "; there is none"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; there is: {shown}"
