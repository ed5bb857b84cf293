"""Steps that prove: every check runs, the table and the addresses are shown."""

from __future__ import annotations

from aihub.checks import runner as checks
from aihub.targets import images

from .. import report
from ..errors import DONE, CheckFailed
from .run import Run


def verify(run: Run) -> None:
    """Every check, or those about what was asked for, against the running hub."""
    with report.progress("checks") as progress:
        run.checks = checks.run(run.hub, run.state, run.options.target, run.options.only, progress)


def show(run: Run) -> None:
    """The table, where everything answers, and what the lab stands in for."""
    if run.options.as_json:
        return
    report.checks(run.checks)
    report.addresses(run.hub, run.options.target, labels(run))
    if run.world:
        for line in run.world.simulated:
            report.say(f"lab: {line}")
        report.say(f"lab: {run.world.why}")


def labels(run: Run) -> dict[str, str]:
    """What stands in for the language models in the lab."""
    return images.labels(run.hub) if run.options.target == "lab" else {}


def verdict(run: Run) -> int:
    """0 when every check passed, else 7."""
    return CheckFailed.exit_code if any(c.outcome == "failed" for c in run.checks) else DONE
