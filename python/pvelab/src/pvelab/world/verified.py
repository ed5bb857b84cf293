"""Whether a file of the cache is what its digest says.

A file is read through once: what was found is kept with what changes whenever anybody writes to it. The time of a
file's last change is the kernel's, and nobody in a container may set the clock.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def matches(file: Path, digest: str, kept: Path) -> bool:
    """True when the file's content has this digest, `sha256:HEX`; `kept` is a folder for what was found before."""
    kind, _, wanted = digest.partition(":")
    if kind != "sha256":
        return False
    try:
        state = _state(file)
        note = kept / wanted
        if note.exists() and note.read_text() == state:
            return True
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        return False
    if found != wanted or _state(file) != state:
        return False
    kept.mkdir(exist_ok=True)
    note.write_text(state)
    return True


def _state(file: Path) -> str:
    found = file.stat()
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
