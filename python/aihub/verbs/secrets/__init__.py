"""`aihub secrets ...`: one file per command."""

from __future__ import annotations

from aihub.state import lock

from ...owners.run import Run


def alone(run: Run, verb: str) -> None:
    """From here on the only run on this machine and target: what was typed is checked before. Raises Locked."""
    run.state.make()
    run.stack.enter_context(lock.held(run.state.lock, verb))
