"""Which backups a retention setting keeps, group by group as PVE counts them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PERIODS: dict[str, Callable[[int], str]] = {
    "keep-last": str,
    "keep-hourly": lambda t: time.strftime("%Y/%j/%H", time.localtime(t)),
    "keep-daily": lambda t: time.strftime("%Y/%j", time.localtime(t)),
    "keep-weekly": lambda t: time.strftime("%G/%V", time.localtime(t)),
    "keep-monthly": lambda t: time.strftime("%Y/%m", time.localtime(t)),
    "keep-yearly": lambda t: time.strftime("%Y", time.localtime(t)),
}


def mark(group: list[dict[str, Any]], keep: dict[str, Any]) -> None:
    """Sets `mark` of every backup of a guest to keep or remove; what is protected stays so."""
    counts = {name: int(keep.get(name) or 0) for name in PERIODS}
    if int(keep.get("keep-all") or 0) or not any(counts.values()):
        for entry in group:
            entry.setdefault("mark", "keep")
        return
    newest = sorted(group, key=lambda entry: -int(entry["ctime"]))
    for name, period in PERIODS.items():
        if counts[name]:
            _mark_period(newest, counts[name], period)
    for entry in newest:
        entry.setdefault("mark", "remove")


def _mark_period(newest: list[dict[str, Any]], count: int, period: Callable[[int], str]) -> None:
    kept = {period(int(entry["ctime"])) for entry in newest if entry.get("mark") == "keep"}
    fresh: set[str] = set()
    for entry in newest:
        key = period(int(entry["ctime"]))
        if "mark" in entry or key in kept:
            continue
        if key in fresh:
            entry["mark"] = "remove"
            continue
        if len(fresh) >= count:
            break
        fresh.add(key)
        entry["mark"] = "keep"
