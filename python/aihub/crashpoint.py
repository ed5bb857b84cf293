"""A test hook: AIHUB_CRASH_AT=N[:before|inside|after] kills this process at its N-th write.

A write is a changing call to the Proxmox API or a replacement of the journal, counted together from 1 over
the whole process. `inside` of a call is while its answer is awaited; of a file, when the new text lies beside
the old.
The crash-safety tests go through every N and expect the next run to finish the work.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_count = 0


def _target() -> tuple[int, str]:
    number, _, where = os.environ.get("AIHUB_CRASH_AT", "").partition(":")
    return (int(number), where or "before") if number.isdigit() else (0, "")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def write() -> Iterator[bool]:
    """Surrounds one write; gives True when the process is to die inside it."""
    global _count
    with _lock:
        _count += 1
        number = _count
    target, where = _target()
    due = number == target
    if due and where == "before":
        _die()
    yield due and where == "inside"
    if due and where == "after":
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


def count() -> int:
    """How many writes this process has made."""
    return _count
