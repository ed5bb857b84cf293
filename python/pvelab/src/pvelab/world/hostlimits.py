"""Kernel limits that all containers of this machine share: a lab's node has what a Proxmox VE node has of itself.

Every systemd and every container engine takes some inotify instances and keys, and those of all guests count as one
user's. Proxmox VE raises inotify's limits on its node, and so does a lab. What it leaves to who runs the node (200
keys, which six guests use up) a lab leaves as well: its node may set that, and the last lab puts it back.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .lab import RUNTIME
from .process import say

GIVEN = {"fs/inotify/max_user_instances": 65_536, "fs/inotify/max_user_watches": 4_194_304}
"""What a Proxmox VE node has of itself."""
OPEN = ("kernel/keys/maxkeys", "kernel/keys/maxbytes", "vm/overcommit_memory")
"""What root of a node may set, as on Proxmox VE."""
_KERNEL = Path("/proc/sys")


def lower(needed: dict[str, int], kernel: Path) -> dict[str, int]:
    """The limits that are too low, with their present values."""
    present = {name: int((kernel / name).read_text()) for name in needed if (kernel / name).exists()}
    return {name: value for name, value in present.items() if value < needed[name]}


def raise_limits() -> None:
    """Gives what a node has of itself, and keeps all former values, so that the last lab puts them back."""
    with _kept() as kept:
        former = json.loads(kept.read_text()) if kept.exists() else {}
        low = lower(GIVEN, _KERNEL)
        settable = {name: int((_KERNEL / name).read_text()) for name in OPEN if (_KERNEL / name).exists()}
        kept.write_text(json.dumps({**settable, **low, **former}))
        for name, value in low.items():
            (_KERNEL / name).write_text(f"{GIVEN[name]}\n")
            say("host", f"{name.replace('/', '.')} raised from {value} to {GIVEN[name]} while a lab is up")


def mounts() -> list[str]:
    """What lets a node set what it may: entries of lxc's configuration."""
    places = sorted({"kernel/keys", "vm/overcommit_memory"})
    return [f"{_KERNEL}/{place} proc/sys/{place} none bind,rw 0 0" for place in places if (_KERNEL / place).exists()]


def restore_limits() -> None:
    """Puts back what `raise_limits` found, unless a lab is still there.

    What a lab itself had given stays where somebody has set another value since.
    """
    if not RUNTIME.is_dir() or any(path.is_dir() for path in RUNTIME.iterdir()):
        return
    with _kept() as kept:
        former = json.loads(kept.read_text()) if kept.exists() else {}
        for name, value in former.items():
            if name in OPEN or int((_KERNEL / name).read_text()) == GIVEN.get(name):
                (_KERNEL / name).write_text(f"{value}\n")
        kept.unlink(missing_ok=True)


@contextmanager
def _kept() -> Iterator[Path]:
    RUNTIME.mkdir(parents=True, exist_ok=True)
    with RUNTIME.joinpath("limits.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield RUNTIME / "limits.json"
