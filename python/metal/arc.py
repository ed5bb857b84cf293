"""What ZFS may keep in memory, beside guests that hold all of theirs from their start on."""

from __future__ import annotations

from aihub.names import Layout

from .actual import ActualNode
from .desired import Desired
from .refusal import RefusedByNode

GIB = 1 << 30
HOST_MEMORY = 8 * GIB
"""What the node keeps for itself beside guests and ZFS."""
LEAST, MOST = GIB, 16 * GIB
"""What ZFS can work with, and what Proxmox itself gives it at most."""


def limit(desired: Desired, actual: ActualNode) -> int:
    """What ZFS may cache at most; 0 where there is no ZFS, or somebody has set as little already.

    A guest with a card has all its memory from its start on: what ZFS holds by then is not there for it.
    """
    total = _memory(actual)
    rest = total - desired.memory - HOST_MEMORY
    if not _used(desired, actual) or not total:
        return 0
    if rest < LEAST:
        raise RefusedByNode(
            "precondition",
            f"node {desired.node} has {_gib(total)} of memory: guests have {_gib(desired.memory)} of it, it needs "
            f"{_gib(HOST_MEMORY)} itself, and ZFS at least {_gib(LEAST)}",
            f"give guests {_gib(LEAST - rest)} less in hub.yml: one with a card takes all of its own at once",
        )
    cap = min(rest, MOST)
    said = _said(desired, actual)
    return 0 if said and said[1] <= cap else cap


def others(desired: Desired, actual: ActualNode) -> str:
    """What somebody else says of it, and whether that counts; empty where nobody says anything, or there is no ZFS."""
    said = _said(desired, actual)
    if not said or not _used(desired, actual):
        return ""
    cap = limit(desired, actual)
    which = f"ours, {_gib(cap)}, is read after it and counts" if cap else "no more than guests leave: it stays so"
    return f"{said[0]} lets ZFS cache {_gib(said[1])}; {which}"


def _used(desired: Desired, actual: ActualNode) -> bool:
    used = any(str(entry.get("type")) == "zfspool" for entry in actual.api.get("storage", []))
    return used or bool(desired.mirrors)


def _memory(actual: ActualNode) -> int:
    return int((actual.api.get("status") or {}).get("memory", {}).get("total") or 0)


def _said(desired: Desired, actual: ActualNode) -> tuple[str, int] | None:
    """The file that says it last, beside ours, and how much."""
    ours = Layout(desired.hub).arc
    every = [(option.path, option.value(("zfs",), "zfs_arc_max")) for option in actual.options]
    found = [(path, int(text)) for path, text in every if path != ours and text.isdigit() and int(text)]
    return found[-1] if found else None


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}".removesuffix(".0") + " GiB"
