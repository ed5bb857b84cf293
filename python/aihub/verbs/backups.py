"""`aihub backups [GUEST|STACK@GUEST]...`: which copies there are, how old they are, and what is late."""

from __future__ import annotations

from datetime import UTC, datetime

from aihub import report
from aihub.backup import listing, parts

from ..errors import DONE, CheckFailed
from ..options import Options
from ..owners.run import find_target, opened, perform


def run(options: Options) -> int:
    """Prints the table; 7 when a copy is late, or its repository was not found whole."""
    with opened(options, "backups", report, reads=True) as found:
        wanted = parts.chosen(found.hub, options.only)
        perform(found, (find_target,))
        copies, now = listing.look(found.hub, found.state, wanted), datetime.now(UTC)
    if options.as_json:
        report.as_json({"copies": report.copies_as_json(copies, now)})
    else:
        report.copies(copies, now)
    bad = any(one.late(now) or one.wrong or one.error for one in copies)
    return CheckFailed.exit_code if bad else DONE
