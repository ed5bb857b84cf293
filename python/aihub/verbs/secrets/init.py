"""`aihub secrets init`: the vault's own part of `aihub up`."""

from __future__ import annotations

from ... import report
from ...errors import DONE
from ...options import Options
from ...steps import reach, secrets
from ...steps.run import Run, Step, opened, perform

STEPS: tuple[Step, ...] = (reach.find_lab, reach.be_trusted, reach.take_lease, secrets.authority)


def run(options: Options) -> int:
    """The vault that runs on its guest serves, holds what the hub declares, and can be recovered."""
    with opened(options, "secrets init", locked=True) as found:
        perform(found, (*STEPS, _bring_up))
    return DONE


def _bring_up(run: Run) -> None:
    with report.progress("vault") as progress:
        secrets.bring_up(run, progress)
