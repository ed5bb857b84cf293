"""`aihub logs GUEST|STACK@GUEST`: what it said last, and what it says next."""

from __future__ import annotations

import contextlib
import sys

from aihub import report
from aihub.guests import logs

from ..errors import DONE
from ..options import Options
from ..owners.choice import named
from ..owners.run import find_target, opened, perform


def run(options: Options) -> int:
    """Prints line by line; whoever reads may go at any time."""
    with opened(options, "logs", report, reads=True) as found:
        guest, stack = named(found.hub, options.only[0])
        perform(found, (find_target,))
        told = logs.told(found.state, guest, stack, lines=options.lines, follow=options.follow)
        with contextlib.closing(told):
            for line in told:
                try:
                    sys.stdout.write(f"{line}\n")
                    sys.stdout.flush()
                except BrokenPipeError:
                    break
    return DONE
