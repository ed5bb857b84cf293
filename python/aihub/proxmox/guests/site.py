"""What the work on all guests of one run shares: the API, the journal, limits, and the way to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aihub.errors import Conflict, PreconditionFailed, Unreachable
from aihub.model.resolved import Hub
from aihub.proxmox.client import Landed, Proxmox
from aihub.proxmox.errors import understood
from aihub.proxmox.root import Root
from aihub.proxmox.state import UNKNOWN, ActualGuest, read_guest, with_state
from aihub.state.journal import Journal

from .desired import Wanted

TASK_TIME = 600.0
PER_STORAGE = 2  # unpacking images is disk work: more at once on one storage only makes each slower

Progress = Callable[[str, str], None]


class Stopped(Exception):
    """Ctrl-C came: nothing new is started."""


class Site:
    """What the work on all guests of one run shares."""

    def __init__(self, px: Proxmox, hub: Hub, journal: Journal, progress: Progress, root: Root | None = None) -> None:
        self.px = px
        self.root = root
        self.hub = hub
        self.journal = journal
        self.progress = progress
        self.stop = threading.Event()
        self.writes = 0
        self._limits: dict[tuple[str, str], threading.Semaphore] = {}
        self._lock = threading.Lock()

    def write(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any],
        landed: Callable[[], Landed | None],
        *,
        task: bool = False,
    ) -> Any:
        """One change, unless the run was told to stop."""
        self._count()
        return self.px.write(method, path, data, landed=landed, task=task)

    def write_as_root(self, path: str, data: Mapping[str, Any], landed: Callable[[], Landed | None]) -> None:
        """One change of what the token may not touch, unless the run was told to stop."""
        if self.root is None:
            raise PreconditionFailed("only root may change it, and there is no way to root", where=path)
        self._count()
        try:
            self.root.set(path, data)
        except Unreachable:
            # The connection broke, and nobody said whether the change was made: the next run writes what is missing.
            if not landed():
                raise

    def _count(self) -> None:
        if self.stop.is_set():
            raise Stopped
        with self._lock:
            self.writes += 1

    def task(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any],
        landed: Callable[[], Landed | None],
        *,
        patience: float = 0,
    ) -> None:
        """One change that is a task, to its end. A `landed` without a task id has seen that end already.

        `patience`: seconds that it may take at least.
        """
        if upid := self.write(method, path, data, landed, task=True):
            self.px.tasks.wait(str(upid), max(TASK_TIME, patience))

    @understood
    def look(self, kind: str, node: str, vmid: int) -> ActualGuest | None:
        """A guest as it is at this moment."""
        stub = ActualGuest(vmid, "lxc" if kind == "lxc" else "vm", node, f"VMID {vmid}", UNKNOWN)
        found = read_guest(self.px.get, stub)
        return found and with_state(self.px.get, found)

    def ours(self, want: Wanted) -> ActualGuest:
        """The guest as it is at this moment. Raises Conflict unless it carries its marker."""
        found = self.look(want.guest.kind, want.guest.node, want.guest.vmid)
        if found is None or found.marker != want.marker:
            raise Conflict(
                f"VMID {want.guest.vmid} is no longer guest {want.guest.name} of this hub", hint="aihub plan"
            )
        return found

    @contextmanager
    def storage(self, node: str, storage: str) -> Iterator[None]:
        """One of the few places for heavy work on a storage."""
        with self._lock:
            limit = self._limits.setdefault((node, storage), threading.Semaphore(PER_STORAGE))
        while not limit.acquire(timeout=0.2):
            if self.stop.is_set():
                raise Stopped
        try:
            yield
        finally:
            limit.release()
