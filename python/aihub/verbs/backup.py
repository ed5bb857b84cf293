"""`aihub backup [GUEST|STACK@GUEST]...`: copies now what is copied every night."""

from __future__ import annotations

from aihub import report
from aihub.backup import making, parts

from ..errors import DONE
from ..options import Options
from ..owners.run import find_target, opened, perform, take_lease


def run(options: Options) -> int:
    """Each by its own unit; ends with the first failure when everybody else was copied."""
    with opened(options, "backup", report, locked=True) as found:
        wanted = parts.chosen(found.hub, options.only)
        perform(found, (find_target, take_lease))
        with report.progress("backup") as progress:
            failed = making.make(found.state, wanted, progress)
    for error in failed.values():
        raise error
    return DONE
