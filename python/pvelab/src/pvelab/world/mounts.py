"""Mounts on the machine's side of root file systems: what a guest makes setuid or a device there is neither."""

from __future__ import annotations

from pathlib import Path

from .process import run


def guard(folder: Path) -> None:
    """Mounts a directory on itself, nosuid and nodev, unless it is. Those who start containers see it without."""
    if str(folder) in mounted():
        return
    run(["mount", "--bind", str(folder), str(folder)])
    run(["mount", "-o", "remount,bind,nosuid,nodev", str(folder)])


def release(folder: Path) -> None:
    """Takes away all mounts on a directory and below it."""
    for place in reversed(mounted()):
        if place == str(folder) or place.startswith(f"{folder}/"):
            run(["umount", "--lazy", place])


def mounted(table: str | None = None) -> list[str]:
    """Where something is mounted, in the order of mounting."""
    text = Path("/proc/self/mountinfo").read_text() if table is None else table
    return [line.split()[4].encode().decode("unicode_escape") for line in text.splitlines()]
