"""Kernel limits that all containers of this machine share and that are too low for a lab: raised while one is up.

Every systemd and every container engine takes some inotify instances and keys, and those of all guests count as
one user's. The defaults (128 and 200) are used up by about six guests; a Proxmox VE node raises them as well.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .lab import RUNTIME
from .process import say

NEEDED = {
    "fs/inotify/max_user_instances": 8192,
    "fs/inotify/max_user_watches": 524_288,
    "kernel/keys/maxkeys": 20_000,
    "kernel/keys/maxbytes": 2_000_000,
}
_KERNEL = Path("/proc/sys")


def lower(needed: dict[str, int], kernel: Path) -> dict[str, int]:
    """The limits that are too low, with their present values."""
    present = {name: int((kernel / name).read_text()) for name in needed if (kernel / name).exists()}
    return {name: value for name, value in present.items() if value < needed[name]}


def raise_limits() -> None:
    """Raises what is too low and keeps the former values, so that the last lab puts them back."""
    with _kept() as kept:
        for name, value in lower(NEEDED, _KERNEL).items():
            former = json.loads(kept.read_text()) if kept.exists() else {}
            kept.write_text(json.dumps({name: value, **former}))
            (_KERNEL / name).write_text(f"{NEEDED[name]}\n")
            say("host", f"{name.replace('/', '.')} raised from {value} to {NEEDED[name]} while a lab is up")


def restore_limits() -> None:
    """Puts back what `raise_limits` found, unless a lab is still there or somebody set another value since."""
    if not RUNTIME.is_dir() or any(path.is_dir() for path in RUNTIME.iterdir()):
        return
    with _kept() as kept:
        former = json.loads(kept.read_text()) if kept.exists() else {}
        for name, value in former.items():
            if int((_KERNEL / name).read_text()) == NEEDED.get(name):
                (_KERNEL / name).write_text(f"{value}\n")
        kept.unlink(missing_ok=True)


@contextmanager
def _kept() -> Iterator[Path]:
    RUNTIME.mkdir(parents=True, exist_ok=True)
    with RUNTIME.joinpath("limits.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield RUNTIME / "limits.json"
