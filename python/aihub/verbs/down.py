"""`aihub down`: removes what is ours."""

from __future__ import annotations

import shutil

from aihub import report
from aihub.node import metal as node
from aihub.proxmox import root as proxmox_root
from aihub.proxmox import state as proxmox_state
from aihub.proxmox.errors import AccessRefused
from aihub.proxmox.guests import provision
from aihub.targets import lab

from ..errors import DONE, PreconditionFailed
from ..options import Options
from ..steps import reach
from ..steps.run import Run, close_connections, opened, perform

UNAUTHORIZED = 401
LEFTOVER_PATIENCE = 5.0  # seconds for the tasks of a killed run to show up


def run(options: Options) -> int:
    """In the lab the whole lab and its state; on a real node our guests, then everything of ours on the node."""
    with opened(options, "down", locked=True) as found:
        if options.target == "lab":
            _lab(found)
        else:
            _pve(found)
    return DONE


def _lab(run: Run) -> None:
    """Everything that the lab made; nothing in it outlives a rehearsal."""
    name = run.options.lab_name(run.hub.name)
    with report.progress(f"lab {name}") as progress:
        progress("lab", "is removed")
        close_connections(run)
        lab.down(name)
        shutil.rmtree(run.state.control, ignore_errors=True)
        shutil.rmtree(run.state.directory)


def _pve(run: Run) -> None:
    """Guests with our marker, then walls, names, bridges, token, user, roles and pool."""
    perform(run, (reach.be_trusted, reach.take_lease))
    try:
        px = run.proxmox()
        with report.progress("what an earlier run left") as progress:
            provision.recover(px, run.hub, run.journal, progress, patience=LEFTOVER_PATIENCE)
        plan = provision.down_plan(run.hub, px.read(run.hub))
    except PreconditionFailed as error:
        if run.state.token.exists() and not (isinstance(error, AccessRefused) and error.status == UNAUTHORIZED):
            raise
        _without_token(run, error)
        return
    report.plan(plan)
    names = sorted(c.subject for c in plan.changes)
    if missing := [n for n in names if n not in run.options.allow_destroy]:
        raise PreconditionFailed(
            f"the data of {', '.join(missing)} would be lost",
            hint=f"aihub down --target pve {' '.join(f'--allow-destroy {n}' for n in names)}",
        )
    if not run.options.yes and not report.confirm("Remove all this?"):
        raise PreconditionFailed("not confirmed: nothing was changed")
    with report.progress("down") as progress:
        provision.down(px, run.hub, plan, run.journal, progress)
    _clear_node(run)


def _without_token(run: Run, error: PreconditionFailed) -> None:
    """The token goes last: a `down` that died after it is finished when root sees none of our guests."""
    actual = proxmox_state.read(proxmox_root.getter(run.state), run.hub)
    if left := [g.name for g in actual.guests.values() if g.belongs_to(run.hub.id)]:
        raise PreconditionFailed(
            f"the API token is gone or refused, and of this hub's guests {', '.join(left)} are still there",
            hint="aihub up --target pve renews the token, then run the same command again",
        ) from error
    journal = run.journal
    for vmid in journal.entries():
        if vmid not in actual.guests:
            journal.done(vmid)
    if not run.options.yes and not report.confirm("No guest is left. Clear the node of what is ours?"):
        raise PreconditionFailed("not confirmed: nothing was changed")
    _clear_node(run)


def _clear_node(run: Run) -> None:
    with report.progress("node") as progress:
        progress("node", "is cleared")
        node.remove(run.hub, run.state, run.options.target)
    close_connections(run)
