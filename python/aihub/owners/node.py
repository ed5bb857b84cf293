"""The node: bridges, walls, names and time, Proxmox objects that only root may make, and the API token."""

from __future__ import annotations

from collections.abc import Collection

from metal.desired import Desired

from aihub import node
from aihub.plan import Plan

from .run import Run


def look(run: Run) -> Plan:
    """What differs on the node. Raises Conflict for what is not ours, PreconditionFailed for what the node lacks."""
    return node.plan(run.state, _wanted(run))


def apply(run: Run, agreed: Plan) -> None:
    """The node is what the hub needs, and the API token lies in the state directory."""
    if not (changes := agreed.of("node")):
        return
    with run.screen.progress("node") as progress:
        progress("node", f"{len(changes)} changes")
        done = node.apply(run.hub, run.state, _wanted(run), agreed)
        run.changed |= bool(done.changes)
        run.token_refused &= not done.renewed


def removal(run: Run, leaving: Collection[int] = ()) -> Plan:
    """What goes off the node once the guests `leaving` are gone. Raises Conflict for what is not ours."""
    return Plan(node.removal(run.state, _wanted(run), leaving))


def remove(run: Run, agreed: Plan) -> None:
    """Everything of this hub goes off the node: walls, DNS, time, bridges, token, user, roles, pool."""
    with run.screen.progress("node") as progress:
        progress("node", "is cleared")
        node.remove(run.state, _wanted(run), agreed)


def _wanted(run: Run) -> Desired:
    return node.desired(run.hub, run.state, run.target.names, renew=run.token_refused)
