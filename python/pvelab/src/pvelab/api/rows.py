"""Lists of guests as JSON text: a row is made once and kept as long as what it was made from has not changed.

Only the uptime goes on by itself: it is filled in for every answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from .guestconf import GuestConf

Entry = dict[str, Any]


class JsonText(str):
    """A result that is JSON text already."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One guest's entry: `sources` is everything that it was made from, the time aside."""

    sources: tuple[object, ...]
    entry: Entry
    before: str
    after: str

    def text(self, uptime: int, more: str = "") -> str:
        """The entry as it is at this moment; `more` is added to it, each field with a comma before it."""
        return f"{self.before}{uptime}{self.after}{more}}}"


class Rows:
    """The rows of one list."""

    def __init__(self) -> None:
        self._kept: dict[int, Row] = {}

    def row(self, vmid: int, sources: tuple[object, ...], make: Callable[[], Entry]) -> Row:
        """The guest's row: the kept one if it was made from these very sources, else one made anew."""
        found = self._kept.get(vmid)
        if found is None or found.sources != sources:
            found = self._kept[vmid] = _row(sources, make())
        return found

    def keep_only(self, confs: Collection[GuestConf]) -> None:
        """Forgets the rows of guests that are gone."""
        kept = self._kept
        if len(kept) > len(confs):
            self._kept = {conf.vmid: kept[conf.vmid] for conf in confs if conf.vmid in kept}


def dumps(value: object) -> str:
    """JSON as the API sends it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _row(sources: tuple[object, ...], entry: Entry) -> Row:
    names = list(entry)
    place = names.index("uptime")
    first = {name: entry[name] for name in names[:place]}
    rest = {name: entry[name] for name in names[place + 1 :]}
    before = dumps(first)[:-1] + ("," if first else "") + '"uptime":'
    return Row(sources, entry, before, ("," if rest else "") + dumps(rest)[1:-1])
