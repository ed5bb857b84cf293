"""The changes of guests as a plan shows them, and in the order in which they are made; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from aihub.model.resolved import Guest
from aihub.model.types import format_size
from aihub.plan import Change, Difference
from aihub.proxmox.state import ActualGuest

from .compare import Deviation, differences_of
from .desired import Wanted
from .owned import Writer

POOL = "pool"


def new(want: Wanted, summary: str) -> list[Change]:
    """A guest is created, gets what only root may set, and only then starts."""
    guest = want.guest
    facts = {
        "kind": guest.kind,
        "zone": guest.zone,
        "address": f"{guest.address}/{guest.subnet.prefixlen}",
        "cores": str(guest.cores),
        "memory": format_size(guest.memory),
        "disk": f"{format_size(guest.disk)} on {guest.storage}",
    }
    found = [Difference(name, None, value) for name, value in facts.items()]
    changes = [_change(guest.name, "create", summary, found, {"vmid": guest.vmid})]
    if want.root_only:
        text = f"{', '.join(want.root_only)}: only root may set it"
        found = [d for key, value in want.root_only.items() for d in differences_of(guest.kind, key, None, value)]
        changes.append(_change(guest.name, "update", text, found, {"vmid": guest.vmid, "digest": ""}, "root@node"))
    return [*changes, start(guest)]


def updates(have: ActualGuest, name: str, found: Deviation) -> list[Change]:
    """What root writes, then what the token writes; the restart comes once, after the last."""
    changes = []
    for writer, edit in found.edits.items():
        if not edit:
            continue
        fields = ", ".join(d.field for d in edit.differences)
        text = f"{fields} differ" if len(edit.differences) > 1 else f"{fields} differs"
        lost = [f"{key} ({value})" for key, value in found.volumes.items() if writer == "token"]
        changes.append(
            replace(
                _change(name, "update", text, edit.differences, {"vmid": have.vmid, "digest": have.digest}, writer),
                data_at_risk=f"everything on {', '.join(lost)} of {name} (VMID {have.vmid})" if lost else "",
            )
        )
    return [*changes[:-1], *(replace(change, restart=found.restart) for change in changes[-1:])]


def start(guest: Guest, have: ActualGuest | None = None) -> Change:
    """The start of a guest that stands, or of one that is to be made; one that sleeps goes on where it was."""
    status = None if have is None else "hibernated" if have.hibernated else have.status
    summary = f"it is {status}" if status else "once it is made"
    if have and have.asleep:
        summary += ": it goes on where it was, with its memory"
    found = [Difference("status", status, "running")]
    return _change(guest.name, "start", summary, found, {"vmid": guest.vmid})


def join(guest: Guest, have: ActualGuest, pool: str) -> Change:
    """The way back into the hub's pool, outside of which the token has no say."""
    summary = f"it is {f'in pool {have.pool}' if have.pool else 'in no pool'}, where the token has no say"
    found = [Difference(POOL, have.pool or None, pool)]
    details = {"vmid": have.vmid, "digest": have.digest, POOL: pool}
    return _change(guest.name, "update", summary, found, details, "root@node")


def delete(have: ActualGuest, why: str, name: str) -> Change:
    """The removal of a guest with all that is on its disks."""
    return Change(
        subject=name,
        action="delete",
        owner="guests",
        identity="token",
        summary=f"VMID {have.vmid} is removed: {why}",
        data_at_risk=f"everything on the disk of {name} (VMID {have.vmid})",
        details={"vmid": have.vmid, "kind": have.kind, "node": have.node},
    )


def _change(
    name: str,
    action: Literal["create", "update", "start"],
    summary: str,
    differences: Sequence[Difference],
    details: dict[str, Any],
    identity: Writer = "token",
) -> Change:
    found = tuple(differences)
    parts = tuple(d.field for d in found) if action == "update" else ()
    return Change(name, action, "guests", identity, summary, found, parts=parts, details=details)
