"""Gives a root file system that a former version ran without a uid map the map's owners, and what hangs on them."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

OFFSET = 100_000
_CAPABILITY = "security.capability"
_NAMESPACED = 0x03000000  # the revision of a file capability that names the root of its map
_REVISION = 0xFF000000
# overlayfs' own marks. Under a uid map it reads those of a user.
_PRIVILEGED, _OF_A_USER = "trusted.overlay.", "user.overlay."


def shift(root: Path) -> None:
    """Shifts a root file system that nothing runs in, unless it is. Its top comes last: killed half-way, it goes on."""
    if root.stat().st_uid >= OFFSET:
        return
    for folder, names, files in os.walk(root, topdown=False):
        for name in (*names, *files):
            _shift(os.path.join(folder, name))  # noqa: PTH118 a hundred thousand of them
    _shift(str(root))


def _shift(path: str) -> None:
    found = os.lstat(path)
    if found.st_uid >= OFFSET:
        return
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in _attributes(path)}
    os.chown(path, found.st_uid + OFFSET, found.st_gid + OFFSET, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(path, stat.S_IMODE(found.st_mode))  # noqa: PTH101 a change of owner takes setuid away
    for name, value in attributes.items():
        if name == _CAPABILITY:
            os.setxattr(path, name, namespaced(value), follow_symlinks=False)
        else:
            os.setxattr(path, name.replace(_PRIVILEGED, _OF_A_USER), value, follow_symlinks=False)


def _attributes(path: str) -> list[str]:
    return [n for n in os.listxattr(path, follow_symlinks=False) if n == _CAPABILITY or n.startswith(_PRIVILEGED)]


def namespaced(capability: bytes) -> bytes:
    """A file capability that holds below the map's root only."""
    (magic,) = struct.unpack_from("<I", capability)
    return struct.pack("<I", magic & ~_REVISION | _NAMESPACED) + capability[4:20] + struct.pack("<I", OFFSET)
