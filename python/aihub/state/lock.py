"""One run at a time on one hub and target: a file lock that names its holder."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from aihub import process
from aihub.errors import Locked

PATIENCE = 10.0  # seconds; the children of a killed run are gone in less than one


@dataclass(frozen=True)
class Holder:
    """Who holds the lock."""

    pid: int
    user: str
    host: str
    since: str
    verb: str

    def __str__(self) -> str:
        what = f"aihub {self.verb}" if self.verb else "another run"
        return f"{what} (pid {self.pid} of {self.user}@{self.host}, since {self.since})"


def me(verb: str = "") -> Holder:
    """This process as a holder."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(os.getpid(), _user(), socket.gethostname(), now, verb)


@contextmanager
def held(path: Path, verb: str = "") -> Iterator[Holder]:
    """Holds the lock at `path`. Raises Locked at once, naming the holder, when another process has it.

    The kernel lets go of it when the process has ended, however it ended, and its children with it; the file itself
    stays. Of a killed run they take a moment: a holder who is dead is waited for.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(descriptor, path)
        who = me(verb)
        _write(descriptor, json.dumps(asdict(who)))
        try:
            with process.kept_by_children(descriptor):
                yield who
        finally:
            _write(descriptor, "")
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def holder(path: Path) -> Holder | None:
    """Who wrote himself into the lock file; None when nobody holds it or its text is not readable yet."""
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _take(descriptor: int, path: Path) -> None:
    """Takes the lock; a name left by a killed run, or not written yet, is looked at again for a while."""
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            found = holder(path)
            alive = found is not None and (found.host != socket.gethostname() or Path(f"/proc/{found.pid}").exists())
            if alive or time.monotonic() > limit:
                raise Locked(
                    f"{found if alive else 'another run'} holds the lock",
                    where=str(path),
                    hint="wait until it has ended, then run the same command again",
                ) from None
        time.sleep(0.02)


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
