"""`aihub trust`: meets a real node once."""

from __future__ import annotations

from aihub.node.trust import trust

from .. import report
from ..errors import DONE
from ..options import Options
from ..owners.run import opened


def run(options: Options) -> int:
    """Shows the node's host key, adds our key there, pins host key and certificate."""
    with opened(options, "trust", report, locked=True) as found:
        trust(found.hub, found.state, _agreed if options.yes else report.confirm)
        report.say(f"the node is trusted. Next: aihub plan{found.hub.target.option}")
    return DONE


def _agreed(question: str) -> bool:
    """`--yes` was given: what is agreed to is shown all the same."""
    report.say(question)
    return True
