"""`aihub status`: what runs, where, and how to look around."""

from __future__ import annotations

from aihub import report, ssh
from aihub.proxmox.state import Actual

from ..errors import DONE
from ..options import Options
from ..owners.run import Run, find_target, opened, perform


def run(options: Options) -> int:
    """Prints node and guests with their state, and in the lab what is simulated."""
    with opened(options, "status", report) as found:
        perform(found, (find_target,))
        rows = _rows(found, found.proxmox().read(found.hub))
        if options.as_json:
            report.as_json({"machines": [r.as_json() for r in rows], "notes": list(found.target.notes)})
        else:
            report.status(rows, list(found.target.notes))
            report.addresses(found.hub, found.target.labels(found.hub))
    return DONE


def _rows(run: Run, actual: Actual) -> list[report.StatusRow]:
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
    return rows
