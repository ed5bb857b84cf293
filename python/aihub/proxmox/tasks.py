"""Waiting for many Proxmox tasks with one poll for all of them.

The first thread that waits asks for everybody; the others sleep until it tells them. The pause between two
polls grows from 0.1 to 1 second and starts over when a new task comes in.

proxmoxer's own helpers do not do: `blocking_status` asks for one task, a second late, and gives None when its time is
up; `decode_upid` cuts the token off the user, by which our tasks are told from other people's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aihub.errors import TaskFailed

from .errors import RefusedByProxmox, understood

FIRST, LONGEST = 0.1, 1.0
GRACE = 5.0  # a task that was just given out may be unknown for a moment
LOG_TAIL = 20


@dataclass(frozen=True)
class Ended:
    """How a task ended: `OK`, `WARNINGS: n`, or the text of its error."""

    upid: str
    status: str

    @property
    def good(self) -> bool:
        return self.status == "OK" or self.status.startswith("WARNINGS")


@dataclass(frozen=True)
class Upid:
    """A task's id, taken apart."""

    node: str
    started: int
    type: str
    vmid: str
    user: str

    @classmethod
    def parse(cls, upid: str) -> Upid:
        """Raises ValueError for what is no UPID."""
        parts = upid.split(":")
        if len(parts) < 8 or parts[0] != "UPID":
            raise ValueError(f"not a task id: {upid!r}")
        return cls(parts[1], int(parts[4], 16), parts[5], parts[6], parts[7])


class Tasks:
    """The tasks of one API server."""

    def __init__(self, get: Callable[..., Any]) -> None:
        self._get = get
        self._changed = threading.Condition()
        self._waiting: dict[str, float] = {}  # since when, by UPID
        self._ended: dict[str, Ended] = {}
        self._asking = False
        self._pause = FIRST

    def wait(self, upid: str, timeout: float = 600) -> Ended:
        """Waits for the end of a task.

        Raises TaskFailed with the end of its log when it failed, and when it is not over in time.
        """
        limit = time.monotonic() + timeout
        with self._changed:
            self._waiting[upid] = time.monotonic()
            self._pause = FIRST
            self._changed.notify_all()
        try:
            ended = self._until(upid, limit)
        finally:
            with self._changed:
                self._waiting.pop(upid, None)
                self._ended.pop(upid, None)
        if not ended.good:
            raise TaskFailed(
                f"{Upid.parse(upid).type} ended with: {ended.status}\n{self.tail(upid)}".rstrip(), where=upid
            )
        return ended

    def _until(self, upid: str, limit: float) -> Ended:
        while True:
            with self._changed:
                if found := self._ended.get(upid):
                    return found
                if time.monotonic() > limit:
                    raise TaskFailed(
                        "the task is not over yet; it was not stopped",
                        where=upid,
                        hint="look at it in the Proxmox task list, then run the same command again",
                    )
                if self._asking:
                    self._changed.wait(min(LONGEST, max(0.01, limit - time.monotonic())))
                    continue
                self._asking = True
            self._ask_for_all(upid, limit)

    def _ask_for_all(self, mine: str, limit: float) -> None:
        """Asks once for every waiting task, then pauses unless `mine` is over."""
        try:
            with self._changed:
                open_ = {u: since for u, since in self._waiting.items() if u not in self._ended}
            found = self._ended_of(open_)
            with self._changed:
                self._ended.update({e.upid: e for e in found})
                if found:
                    self._changed.notify_all()
                if mine not in self._ended:
                    self._changed.wait(max(0.0, min(self._pause, limit - time.monotonic())))
                    self._pause = min(LONGEST, self._pause * 1.5)
        finally:
            with self._changed:
                self._asking = False
                self._changed.notify_all()

    @understood
    def _ended_of(self, waiting: dict[str, float]) -> list[Ended]:
        found: dict[str, Ended | None] = {}
        by_node: dict[str, list[str]] = {}
        for upid in waiting:
            by_node.setdefault(Upid.parse(upid).node, []).append(upid)
        for node, upids in by_node.items():
            if len(upids) > 1:
                since = min(Upid.parse(u).started for u in upids) - 1
                listed = self._get(f"/nodes/{node}/tasks", source="all", since=since, limit=len(upids) + 200)
                found |= {t["upid"]: _listed(t) for t in listed}
        for upid, began in waiting.items():
            if upid not in found:
                found[upid] = self._status(upid, young=time.monotonic() - began < GRACE)
        return [e for upid, e in found.items() if e and upid in waiting]

    def _status(self, upid: str, *, young: bool) -> Ended | None:
        try:
            said = self._get(f"/nodes/{Upid.parse(upid).node}/tasks/{upid}/status")
        except RefusedByProxmox as error:
            if error.status == 400 and young:
                return None
            raise
        return None if said["status"] == "running" else Ended(upid, str(said.get("exitstatus", "unexpected status")))

    @understood
    def log(self, upid: str) -> list[str]:
        """Every line of a task's log."""
        return [
            str(line.get("t", "")) for line in self._get(f"/nodes/{Upid.parse(upid).node}/tasks/{upid}/log", limit=0)
        ]

    def tail(self, upid: str) -> str:
        """The end of a task's log for an error message, or why it cannot be read."""
        try:
            return "\n".join(self.log(upid)[-LOG_TAIL:])
        except Exception as error:
            return f"(its log cannot be read: {error})"

    @understood
    def of(self, node: str, vmid: int, user: str, types: frozenset[str]) -> list[tuple[Upid, str, bool]]:
        """The tasks of `user` on one VMID, newest first: taken apart, as text, and whether it still runs."""
        listed = self._get(f"/nodes/{node}/tasks", source="all", vmid=vmid, limit=50)
        found = [(Upid.parse(t["upid"]), str(t["upid"]), _listed(t) is None) for t in listed]
        return sorted((f for f in found if f[0].user == user and f[0].type in types), key=lambda f: -f[0].started)


def _listed(task: dict[str, Any]) -> Ended | None:
    """How a task of a list ended; only one that ended has an end time."""
    return Ended(str(task["upid"]), str(task.get("status", ""))) if task.get("endtime") else None
