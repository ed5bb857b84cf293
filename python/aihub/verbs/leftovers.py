"""What several verbs list: what is there and stands nowhere in hub.yml, and data that is kept for nobody."""

from __future__ import annotations

from typing import Any

from .. import report
from ..errors import HubError
from ..owners import hub
from ..owners.run import Run
from ..plan import Plan, Undeclared


def look(run: Run) -> list[str]:
    """Looks for it; why that can't be said, where a guest or the hub does not answer."""
    try:
        hub.look(run)
    except HubError as error:
        return [f"what is undeclared and whether data is kept for nobody is not known: {error.what}"]
    text = "what is undeclared and whether data is kept on {} is not known: it does not answer"
    return [text.format(name) for name in run.plan.unknown]


def undeclared(plan: Plan) -> list[Undeclared]:
    """All of it: on guests, and what the store and services are to lose."""
    gone = [one for one in plan.of("vault", "services") if one.action == "delete"]
    also = (Undeclared(one.holder.rpartition("@")[2], f"{one.subject}: {one.summary}", True) for one in gone)
    return [*plan.undeclared, *also]


def show(run: Run) -> None:
    """Prints it."""
    report.undeclared(undeclared(run.plan))
    report.kept(run.plan.kept)


def as_json(run: Run) -> dict[str, Any]:
    """It as `--json` prints it."""
    return {
        "kept": [one.as_json() for one in run.plan.kept],
        "undeclared": [one.as_json() for one in undeclared(run.plan)],
    }
