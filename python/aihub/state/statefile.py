"""Replaces a file of the state directory so that a crash leaves the old one or the new one, whole."""

from __future__ import annotations

import os
from pathlib import Path

from aihub import crashpoint


def replace(path: Path, content: str | bytes) -> None:
    """Puts a file's new content in place, 0600, on disk before this returns.

    The new text lies beside the old under one fixed name: what a killed run left there is written over by the next.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = _beside(path)
    with crashpoint.write(f"file {path.name}") as due:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        crashpoint.inside(due)
        beside.replace(path)
        _sync(path.parent)


def tidy(*paths: Path) -> None:
    """Removes what a run that was killed inside `replace` left beside files that only the holder of a lock writes."""
    for path in paths:
        _beside(path).unlink(missing_ok=True)


def keep(path: Path, content: str | bytes) -> None:
    """As `replace`, unless the file says so already."""
    raw = content.encode() if isinstance(content, str) else content
    if not path.exists() or path.read_bytes() != raw:
        replace(path, raw)


def unlink(path: Path) -> None:
    """Removes a file; fine if there is none."""
    if path.exists():
        with crashpoint.write(f"unlink {path.name}") as due:
            crashpoint.inside(due)
            path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
