"""Runs on a guest as a part of other programs: takes the values of secrets out of what is told.

Standard library and ASCII only. Secret files belong to the service that uses them, so none of them is trusted: no link
is followed, and no pipe is waited for.
"""

from __future__ import annotations

import os

SECRETS = "/run/hub"
MOST = 64 * 1024  # bytes of a secret file
SHORTEST = 6  # bytes: a shorter line of a secret file is no secret
OPEN = "ca.pem"  # anybody may read it


def secrets(stack: str = "") -> dict[bytes, bytes]:
    """The lines of the secret files of an instance, or of all, with the file's name; the longest first."""
    found: dict[bytes, bytes] = {}
    stacks = [stack] if stack else os.listdir(SECRETS) if os.path.isdir(SECRETS) else []
    for folder in (os.path.join(SECRETS, one) for one in stacks):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name == OPEN:
                continue
            try:
                with open(os.path.join(folder, name), "rb", opener=no_link) as handle:
                    lines = handle.read(MOST).split(b"\n")
            except OSError:
                continue  # a link or a pipe: no secret of the hub's
            found.update({line: name.encode() for line in lines if len(line) >= SHORTEST})
    return dict(sorted(found.items(), key=lambda one: -len(one[0])))


def without(line: bytes, values: dict[bytes, bytes]) -> bytes:
    """A line with the name of its file in place of each value."""
    for value, name in values.items():
        line = line.replace(value, b"(" + name + b")")
    return line


def no_link(path: str, flags: int) -> int:
    """Opens a file of a folder that is its service's."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
