"""`aihub plan`: what `up` would change; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .. import report
from ..errors import CHANGES_PENDING, DONE, HubError
from ..options import Options
from ..owners import choice, hub
from ..owners.run import find_target, opened, perform

FURTHER = "put right what stands there, or take the edit back; then aihub up"
STEPS = (find_target, hub.look, hub.show_plan)


@contextmanager
def _ahead() -> Iterator[None]:
    """After a plan no error leads back to it."""
    try:
        yield
    except HubError as error:
        if error.hint == "aihub plan":
            error.hint = FURTHER
        raise


def run(options: Options) -> int:
    """Prints the plan; 3 when changes are pending, 1 when a running guest could not be looked into."""
    with opened(options, "plan", report, reads=True) as found, _ahead():
        found.choice = choice.of(found.hub, options.only)
        perform(found, STEPS)
        if options.as_json:
            report.as_json(found.plan.as_json())
        if found.plan.unknown:
            return 1
        return CHANGES_PENDING if found.plan.changes or found.plan.waiting else DONE
