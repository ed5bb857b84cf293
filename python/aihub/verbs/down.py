"""`aihub down`: removes what is ours."""

from __future__ import annotations

from .. import report
from ..errors import DONE, PreconditionFailed
from ..options import Options
from ..owners import guests, hub, node, resets
from ..owners.run import Run, close_connections, find_target, opened, perform, take_lease
from ..plan import Plan
from ..targets.lab import Lab

LEFTOVER_PATIENCE = 5.0  # seconds for the tasks of a killed run to show up


def run(options: Options) -> int:
    """In the lab the whole lab and its state; on a real node our guests, then everything of ours on the node."""
    with opened(options, "down", report, locked=True) as found:
        if isinstance(found.target, Lab):
            close_connections(found)
            found.target.remove(found.state, report)
        else:
            _on_a_node(found)
    return DONE


def _on_a_node(run: Run) -> None:
    """Guests with our marker, then walls, names, bridges, token, user, roles and pool."""
    perform(run, (find_target,))
    try:
        plan, remove = hub.removal(run, LEFTOVER_PATIENCE), hub.remove
    except PreconditionFailed as error:
        if not guests.has_no_say(run, error):
            raise
        plan, remove = _without_token(run, error), hub.clear
    report.plan(plan)
    names = sorted(c.subject for c in plan.of("guests"))
    if missing := [n for n in names if n not in run.options.allow_destroy]:
        raise PreconditionFailed(
            f"the data of {', '.join(missing)} would be lost",
            hint=f"aihub down{run.hub.target.option} {' '.join(f'--allow-destroy {n}' for n in names)}",
        )
    resets.refuse_removal(run, plan)
    if plan.changes and not run.options.yes and not report.confirm("Remove all this?"):
        raise PreconditionFailed("not confirmed: nothing was changed")
    perform(run, (take_lease, lambda run: remove(run, plan)))


def _without_token(run: Run, error: PreconditionFailed) -> Plan:
    """The token goes last: a `down` that died after it is finished when root sees none of our guests."""
    if left := guests.left(run):
        raise PreconditionFailed(
            f"the API token is gone or refused, and of this hub's guests {', '.join(left)} are still there",
            hint=f"aihub up{run.hub.target.option} renews the token, then run the same command again",
        ) from error
    return node.removal(run)
