"""What several verbs end with: every check runs, the table and the addresses are shown."""

from __future__ import annotations

from aihub.checks import runner as checks
from aihub.checks.runner import CheckResult

from .. import report
from ..errors import DONE, CheckFailed
from ..owners.run import Run


def verify(run: Run) -> list[CheckResult]:
    """Every check, or those about what was asked for, against the running hub."""
    with report.progress("checks") as progress:
        return checks.run(run.hub, run.state, run.options.only, progress, run.waiting)


def show(run: Run, found: list[CheckResult]) -> None:
    """The table, where everything answers, and what the target stands in for."""
    report.checks(found)
    report.addresses(run.hub, run.target.labels(run.hub))
    for note in run.target.notes:
        report.say(note)


def verdict(found: list[CheckResult]) -> int:
    """0 when every check passed, else 7."""
    return CheckFailed.exit_code if any(c.outcome == "failed" for c in found) else DONE
