"""The node: bridges, walls, names and time, Proxmox objects that only root may make, and the API token."""

from __future__ import annotations

from aihub.node import metal
from aihub.plan import Plan, require_agreed

from .run import Run


def look(run: Run) -> Plan:
    """What differs on the node. Raises Conflict for what is not ours, PreconditionFailed for what the node lacks."""
    return Plan(tuple(metal.plan(run.hub, run.state, run.word, run.target.names, renew=run.token_refused)))


def apply(run: Run, agreed: Plan) -> None:
    """The node is what the hub needs, and the API token lies in the state directory."""
    if not agreed.of("node"):
        return
    with run.screen.progress("node") as progress:
        now = look(run)
        require_agreed(agreed, now.changes)
        progress("node", f"{len(now.changes)} changes")
        run.changed = bool(now.changes)
        metal.apply(run.hub, run.state, run.word, run.target.names, renew=run.token_refused)
        run.token_refused = False


def remove(run: Run) -> None:
    """Everything of this hub goes off the node: walls, DNS, time, bridges, token, user, roles, pool."""
    with run.screen.progress("node") as progress:
        progress("node", "is cleared")
        metal.remove(run.hub, run.state, run.word)
