"""`aihub plan`: what `up` would change; changes nothing."""

from __future__ import annotations

from .. import report
from ..errors import CHANGES_PENDING, DONE
from ..options import Options
from ..owners import choice, hub
from ..owners.run import find_target, opened, perform

STEPS = (find_target, hub.look, hub.show_plan)


def run(options: Options) -> int:
    """Prints the plan; 3 when changes are pending, 1 when a running guest could not be looked into."""
    with opened(options, "plan", report, reads=True) as found:
        found.choice = choice.of(found.hub, options.only)
        perform(found, STEPS)
        if options.as_json:
            report.as_json(found.plan.as_json())
        if found.plan.unknown:
            return 1
        return CHANGES_PENDING if found.plan.changes or found.plan.waiting else DONE
