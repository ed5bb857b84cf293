"""`aihub up`: the hub is built, or brought back to what the file says, and verified."""

from __future__ import annotations

from .. import report
from ..errors import DONE
from ..options import Options
from ..steps import build, look, proof, reach, secrets
from ..steps.run import Run, Step, opened, perform

REACH: tuple[Step, ...] = (
    reach.make_lab,
    reach.be_trusted,
    reach.take_lease,
    secrets.give_up,
    secrets.authority,
    look.plan,
    look.show_plan,
)
API: tuple[Step, ...] = (look.confirm, build.begin_images, build.prepare_node, build.make_guests)
INSIDE: tuple[Step, ...] = (build.configure, build.reconcile)
PROOF: tuple[Step, ...] = (proof.verify, proof.show)


def run(options: Options) -> int:
    """Reach, plan, confirm, change, and verify unless told not to; 7 when a check fails."""
    with opened(options, "up", locked=True) as found:
        perform(found, REACH)
        # What an earlier run began is finished, even when hub.yml and Proxmox agree by now.
        if not found.plan.is_empty or options.full or found.journal.entries():
            perform(found, API if options.scope == "api" else (*API, *INSIDE))
        if options.scope == "api":
            return DONE
        if options.verify:
            perform(found, PROOF)
        else:
            report.say("not verified: `aihub verify` runs the checks")
        return _verdict(found)


def _verdict(run: Run) -> int:
    if run.options.as_json:
        report.as_json({"plan": run.plan.as_json(), "checks": [c.as_json() for c in run.checks]})
    return proof.verdict(run)
