"""`aihub verify`: every check against the running hub."""

from __future__ import annotations

from .. import report
from ..options import Options
from ..steps import proof, reach
from ..steps.run import opened, perform

STEPS = (reach.find_lab, reach.be_trusted, proof.verify)


def run(options: Options) -> int:
    """Prints the table; 7 when a check fails."""
    with opened(options, "verify") as found:
        perform(found, STEPS)
        if options.as_json:
            report.as_json({"checks": [c.as_json() for c in found.checks]})
        else:
            report.checks(found.checks)
        return proof.verdict(found)
