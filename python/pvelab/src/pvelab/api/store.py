"""State on disk that survives a kill at any moment: every file is replaced whole."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replaces a file: temporary name, fsync, rename, fsync of the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{threading.get_ident()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Removes a file for good; fine if it is gone already."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Document:
    """One JSON file held in memory; `data` may be changed under `lock` and is kept by `save`."""

    def __init__(self, path: Path, initial: Any) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.data: Any = json.loads(path.read_text()) if path.exists() else initial

    @contextmanager
    def changed(self) -> Iterator[Any]:
        """The data to change under the lock; kept when that is over without an error."""
        with self.lock:
            yield self.data
            self.save()

    def save(self) -> None:
        """Writes what is in memory."""
        write(self.path, json.dumps(self.data, sort_keys=True).encode())
