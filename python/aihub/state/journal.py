"""The journal: what is in flight, written before it is done, so that a killed run is picked up by the next.

It is no record of what exists: that is read from Proxmox. It only says which guests this hub has begun to
make or remove, and which new guests still wait for their first contact.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from aihub.errors import HubError

from . import statefile

Action = Literal["create", "contact", "delete"]
FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """One thing begun: `contact` is a guest that stands and whose host key is not pinned yet."""

    vmid: int
    guest: str
    node: str
    kind: Literal["lxc", "vm"]
    action: Action
    upid: str = ""
    since: str = ""

    @property
    def age(self) -> float:
        """Seconds since it was begun."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.since)).total_seconds()


class Journal:
    """The entries of one hub, one per VMID, on disk before any method returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._entries = _read(path)

    def entries(self) -> dict[int, Entry]:
        """What is in flight, by VMID."""
        with self._lock:
            return dict(self._entries)

    def get(self, vmid: int) -> Entry | None:
        """The entry of one VMID."""
        return self.entries().get(vmid)

    def begin(self, entry: Entry) -> None:
        """Writes down what is about to be done."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._store(entry if entry.since else replace(entry, since=now))

    def note(self, vmid: int, *, upid: str | None = None, action: Action | None = None) -> None:
        """Adds what became known: the task, or that the guest now waits for its first contact."""
        old = self.entries()[vmid]
        self._store(replace(old, upid=old.upid if upid is None else upid, action=action or old.action))

    def done(self, vmid: int) -> None:
        """Takes the entry out; fine if there is none."""
        with self._lock:
            if vmid in self._entries:
                rest = {v: e for v, e in self._entries.items() if v != vmid}
                statefile.replace(self.path, _text(rest))
                self._entries = rest

    def _store(self, entry: Entry) -> None:
        with self._lock:
            new = {**self._entries, entry.vmid: entry}
            statefile.replace(self.path, _text(new))
            self._entries = new


def _text(entries: dict[int, Entry]) -> str:
    found = [asdict(entries[vmid]) for vmid in sorted(entries)]
    return json.dumps({"format": FORMAT, "entries": found}, indent=1) + "\n"


def _read(path: Path) -> dict[int, Entry]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        data: Any = json.loads(text)
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}, this version knows {FORMAT}")
        entries = [Entry(**e) for e in data["entries"]]
    except (ValueError, TypeError, KeyError) as error:
        raise HubError(
            f"the journal cannot be read: {error}",
            where=str(path),
            hint=f"look at it, then: rm {path} (guests are found by their marker)",
        ) from error
    return {e.vmid: e for e in entries}
