"""Lists of guests as JSON text: a row is made once and kept as long as what it was made from has not changed.

Only the uptime goes on by itself: it is filled in for every answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..backend import RunState
    from .guestconf import GuestConf
    from .registry import Call

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


def listing(call: Call, kind: str, show: Callable[[Call, GuestConf, RunState | None], Entry]) -> JsonText:
    """The guests of one kind that the caller may see; `show` looks at nothing but configuration, state and node."""
    rows, states = call.pve.rows["list", kind], call.pve.runtime.all()
    confs = [conf for conf in call.pve.guests.all() if conf.kind == kind]
    found = []
    for conf in confs:
        if call.allowed(f"/vms/{conf.vmid}", "VM.Audit"):
            state = states.get(conf.vmid)
            row = rows.row(conf.vmid, (conf, state), partial(show, call, conf, state))
            found.append(row.text(int(state.uptime) if state else 0))
    rows.keep_only(confs)
    return JsonText(f"[{','.join(found)}]")


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
