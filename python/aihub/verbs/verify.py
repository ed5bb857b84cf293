"""`aihub verify`: every check against the running hub."""

from __future__ import annotations

from .. import report
from ..options import Options
from ..owners.run import find_target, opened
from ..owners.waiting import waiting
from . import leftovers, proving


def run(options: Options) -> int:
    """Prints the table; 7 when a check fails."""
    with opened(options, "verify", report) as found:
        find_target(found)
        found.waiting = waiting(found)
        checks = proving.verify(found)
        notes = leftovers.look(found)
        if options.as_json:
            report.as_json({"checks": [c.as_json() for c in checks], "notes": notes, **leftovers.as_json(found)})
        else:
            report.checks(checks)
            leftovers.show(found)
            for note in notes:
                report.say(note)
        return proving.verdict(checks)
