"""`aihub status`: what runs, where, and how to look around."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from aihub import report, ssh
from aihub.backup import listing, parts
from aihub.proxmox.properties import addresses
from aihub.proxmox.state import ActualGuests

from ..errors import DONE
from ..options import Options
from ..owners.run import Run, find_target, opened, perform
from . import leftovers


def run(options: Options) -> int:
    """Prints node and guests with their state, and in the lab what is simulated."""
    with opened(options, "status", report, reads=True) as found:
        perform(found, (find_target,))
        px, left = found.proxmox(), leftovers.look(found)
        # What the look has read is enough; one that was refused before it came so far has read nothing.
        rows = _rows(found, found.guests if found.guests.guests else px.read(found.hub))
        notes = [*found.target.notes, *left, *_copies(found)]
        if options.as_json:
            labels = dict(found.target.labels(found.hub))
            machines = [r.as_json() for r in rows]
            report.as_json({"machines": machines, "stand_ins": labels, "notes": notes, **leftovers.as_json(found)})
        else:
            report.status(rows, notes)
            report.addresses(found.hub, found.target.labels(found.hub))
            leftovers.show(found)
    return DONE


def _rows(run: Run, actual: ActualGuests) -> list[report.StatusRow]:
    ((node, spec),) = run.hub.nodes.items()
    rows = [report.StatusRow(node, "node", "", str(spec.address), "running", note=ssh.NODE)]
    for guest in run.hub.guests.values():
        have = actual.guests.get(guest.vmid)
        state = have.status if have and have.belongs_to(run.hub.id) else "absent"
        note = run.target.stand_in(guest)
        rows.append(
            report.StatusRow(
                guest.name, guest.kind, guest.zone, str(guest.address), state, guest.vmid, guest.stacks, note
            )
        )
    return [*rows, *_undeclared(run, actual)]


def _copies(run: Run) -> Iterator[str]:
    """What of the copies is late, not whole, or not known; nothing for a hub that keeps none."""
    if not run.hub.copiers:
        return
    found, now = listing.look(run.hub, run.state, parts.parts(run.hub)), datetime.now(UTC)
    for error in dict.fromkeys(one.error for one in found if one.error):
        yield f"how old copies are is not known: {error}"
    for wrong in dict.fromkeys(f"{one.part.guest}: {one.wrong}" for one in found if one.wrong):
        yield f"the copies of {wrong}"
    known = [one for one in found if not one.error]
    if never := [one.part.name for one in known if not one.newest]:
        yield f"not copied yet: {', '.join(never)}. Now: aihub backup"
    if late := [one.part.name for one in known if one.newest and one.late(now)]:
        yield f"late is the copy of {', '.join(late)}: aihub backups"


def _undeclared(run: Run, actual: ActualGuests) -> Iterator[report.StatusRow]:
    """Guests of ours that hub.yml has no more, or has under another number."""
    declared = {guest.vmid for guest in run.hub.guests.values()}
    for vmid, have in sorted(actual.guests.items()):
        if vmid not in declared and have.belongs_to(run.hub.id):
            place = ", ".join(sorted(addresses(have.in_force)))
            note = f"undeclared: aihub ssh {vmid}"
            yield report.StatusRow(have.name, have.kind, "", place, have.status, vmid, note=note)
