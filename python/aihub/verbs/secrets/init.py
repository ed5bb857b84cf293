"""`aihub secrets init`: the vault's own part of `aihub up`."""

from __future__ import annotations

from ... import report
from ...errors import DONE
from ...options import Options
from ...owners import hub, vault
from ...owners.run import Run, Step, find_target, opened, perform, take_lease

STEPS: tuple[Step, ...] = (find_target, vault.authority, hub.look_at_store, hub.show_plan, take_lease)


def run(options: Options) -> int:
    """The vault that runs on its guest serves, holds what the hub declares, and can be recovered."""
    with opened(options, "secrets init", report, locked=True) as found:
        perform(found, (*STEPS, _bring_up))
    return DONE


def _bring_up(run: Run) -> None:
    with report.progress("vault") as progress:
        vault.apply(run, run.plan, progress)
