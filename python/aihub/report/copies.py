"""The copies of what guests keep, and which are late."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from aihub.backup.listing import Copies
from aihub.words import line

from .console import BAD, FAINT, GOOD, NAME, out, table, text


def copies(found: Sequence[Copies], now: datetime) -> None:
    """Prints a line for each part that is copied."""
    made = table("whose", "what", "last copy", "age", "size", "copies", "", right=("size", "copies"))
    for one in found:
        newest = one.newest
        made.add_row(
            text((one.part.owner, NAME)),
            text(one.part.what),
            f"{newest.at.astimezone():%Y-%m-%d %H:%M}" if newest else "",
            _age(now - newest.at) if newest else "never",
            _size(newest.size) if newest else "",
            str(len(one.copies)) if newest else text(("0", FAINT)),
            text(*_state(one, now)),
        )
    out().print(made)


def copies_as_json(found: Sequence[Copies], now: datetime) -> list[dict[str, Any]]:
    """The same as `--json` prints it."""
    return [
        {
            "owner": one.part.owner,
            "what": one.part.what,
            "guest": one.part.guest,
            "copies": [{"id": c.id, "at": c.at.isoformat(), "bytes": c.size, "files": c.files} for c in one.copies],
            "late": one.late(now),
            "wrong": one.wrong,
            "reading": one.reading,
            "error": one.error,
        }
        for one in found
    ]


def _state(one: Copies, now: datetime) -> tuple[tuple[str, str], ...]:
    if one.error:
        return ((line(one.error, 80), BAD),)
    if one.wrong:
        return ((line(one.wrong, 80), BAD),)
    return (("late", BAD),) if one.late(now) else (("well", GOOD),)


def _age(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"


def _size(size: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
