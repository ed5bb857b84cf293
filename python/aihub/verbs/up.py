"""`aihub up`: the hub is built, or brought back to what the file says, and verified."""

from __future__ import annotations

from typing import Any

from .. import report
from ..errors import DONE, HubError
from ..options import Options
from ..owners import choice, data_moves, hub, last_copies, moves, resets, vault
from ..owners.run import Run, Step, end_lease, keep_identity, make_target, opened, perform, take_lease
from . import proving

LOOK: tuple[Step, ...] = (vault.authority, hub.look, hub.show_plan)
AGREE: tuple[Step, ...] = (
    *(hub.refuse_losses, moves.refuse, data_moves.refuse, resets.refuse, hub.confirm, take_lease, keep_identity),
    *(last_copies.make, data_moves.copy),
)
API: tuple[Step, ...] = (hub.begin_images, vault.follow, hub.apply_node, hub.apply_guests, hub.finish_node)
INSIDE: tuple[Step, ...] = (hub.apply_inside, data_moves.put_back)


def run(options: Options) -> int:
    """Look, agree, change, and verify unless told not to; 7 when a check fails."""
    with opened(options, "up", report, locked=True) as found:
        found.choice = choice.of(found.hub, options.only)
        perform(found, (make_target, *LOOK))
        if hub.empties_store(found):
            # A new store has a new authority, which node and guests are told of: that is planned once it is known.
            perform(found, (*AGREE, vault.empty_store, *LOOK))
        # What an earlier run began is finished, even when hub.yml and Proxmox agree by now.
        if not found.plan.is_empty or found.journal.entries():
            _applied(found)
        else:
            perform(found, (end_lease, keep_identity))
        if options.scope == "api":
            return DONE
        if options.no_verify:
            report.say("not verified: `aihub verify` runs the checks")
        code = _proven(found)
        if code == DONE:
            hub.refuse_waiting(found)
        return code


def _applied(run: Run) -> None:
    """What was agreed is made true; where something inside guests is not, a table says what is and what is not."""
    try:
        perform(run, (*AGREE, *API) if run.options.scope == "api" else (*AGREE, *API, *INSIDE))
    except HubError:
        if run.outcome and run.options.as_json:
            report.as_json({**_told(run), "checks": []})
        elif run.outcome:
            report.outcome(run.outcome)
        raise


def _told(run: Run) -> dict[str, Any]:
    return {"plan": run.plan.as_json(), "outcome": [one.as_json() for one in run.outcome]}


def _proven(run: Run) -> int:
    checks = [] if run.options.no_verify else proving.verify(run)
    if run.options.as_json:
        report.as_json({**_told(run), "checks": [c.as_json() for c in checks]})
    elif not run.options.no_verify:
        proving.show(run, checks)
    return proving.verdict(checks)
