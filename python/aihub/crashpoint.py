"""A test hook: AIHUB_CRASH_AT=N[:before|inside|after] kills this process at its N-th write.

A name like `POST /nodes/pve/lxc` in place of N means the first write of that name. A write is a changing call to the
Proxmox API or a replacement of a file in the state directory, counted together from 1 over the whole process. `inside`
of a call is while its answer is awaited; of a file, when the new text lies beside the old.
The crash-safety tests go through every N and expect the next run to finish the work.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_made: list[str] = []


def _due(number: int, what: str, first: bool) -> str:
    """Where in this write the process is to die; empty when it is not."""
    target, _, where = os.environ.get("AIHUB_CRASH_AT", "").partition(":")
    return (where or "before") if target == str(number) or (first and target == what) else ""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def write(what: str) -> Iterator[bool]:
    """Surrounds one write; gives True when the process is to die inside it."""
    with _lock:
        first = what not in _made
        _made.append(what)
        where = _due(len(_made), what, first)
    if where == "before":
        _die()
    yield where == "inside"
    if where == "after":
        _die()


def inside(due: bool, delay: float = 0.0) -> None:
    """Dies now, or `delay` seconds from now while the caller waits for an answer, when `due`."""
    if not due:
        return
    if not delay:
        _die()
    timer = threading.Timer(delay, _die)
    timer.daemon = True
    timer.start()


def made() -> list[str]:
    """The writes of this process so far, in their order."""
    with _lock:
        return list(_made)
