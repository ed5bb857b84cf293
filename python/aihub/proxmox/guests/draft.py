"""A plan for guests while it is made: the changes, and everything that stands in their way."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, field

from aihub.errors import Conflict, PreconditionFailed
from aihub.plan import Change
from aihub.proxmox.state import ActualGuest


@dataclass
class Draft:
    """What was found so far; `taken` are VMIDs in use, `busy` those on which tasks of ours are still at work."""

    taken: frozenset[int] = frozenset()
    busy: Collection[int] = frozenset()
    changes: list[Change] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def free(self, vmid: int) -> int:
        """The next number that neither a visible guest nor hub.yml has."""
        return next(n for n in itertools.count(vmid + 1) if n not in self.taken)

    def require_removable(self, have: ActualGuest, name: str) -> None:
        """Whatever keeps Proxmox from removing a guest is said before anything was stopped or removed."""
        if have.protected:
            self.refused.append(f"guest {name}: it is protected, and Proxmox removes no such guest")
            self.hints.append(protection_hint(have))
        self.require_unlocked(have, name)

    def require_unlocked(self, have: ActualGuest, name: str) -> None:
        """A lock keeps everybody from changing a guest."""
        if have.held:
            self.refused.append(f"guest {name}: it is locked ({have.lock})")
            self.hints.append(unlock_hint(have))

    def refuse(self) -> None:
        """Raises Conflict or PreconditionFailed with everything that was found, if anything was."""
        if self.conflicts or self.refused:
            kind = Conflict if self.conflicts else PreconditionFailed
            hint = "; ".join(dict.fromkeys(self.hints)) or "aihub plan"
            raise kind("\n".join(self.conflicts + self.refused), hint=hint)


def unlock_hint(have: ActualGuest) -> str:
    """What to do about a lock, which no token may clear."""
    return f"wait for its task to end; if there is none, as root on {have.node}: {_tool(have)} unlock {have.vmid}"


def clear_hint(have: ActualGuest) -> str:
    """What root can do about a half-made guest that is locked or in no pool."""
    commands = f"{_tool(have)} unlock {have.vmid}; {_tool(have)} destroy {have.vmid}"
    return f"as root on {have.node}: {commands} (it is empty), then run the same command again"


def protection_hint(have: ActualGuest) -> str:
    """How somebody who means it takes a guest's protection away."""
    return f"if it is to go, as root on {have.node}: {_tool(have)} set {have.vmid} --protection 0"


def move_hint(have: ActualGuest, disk: str, storage: str) -> str:
    """How a guest comes to another storage with its data."""
    move = f"pct move-volume {have.vmid}" if have.kind == "lxc" else f"qm disk move {have.vmid}"
    stop = f"pct shutdown {have.vmid}; " if have.kind == "lxc" else ""
    return (
        f"its data comes along only when root on {have.node} moves its disk: {stop}{move} {disk} {storage} --delete 1"
    )


def _tool(have: ActualGuest) -> str:
    return "pct" if have.kind == "lxc" else "qm"
