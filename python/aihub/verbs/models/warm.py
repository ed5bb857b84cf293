"""`aihub models warm`: every model is in memory, so that the first who asks does not wait."""

from __future__ import annotations

from aihub import report
from aihub.services import engines

from ...errors import DONE
from ...options import Options
from ...owners.run import find_target, opened, perform
from . import chosen


def run(options: Options) -> int:
    """Asks each for one token, one after the other."""
    with opened(options, "models warm", report, reads=True) as found:
        models = chosen(found.hub, options.only)
        perform(found, (find_target,))
        where = engines.engines(found.hub)
        with found.screen.progress("Load models") as progress:
            for name, model in models.items():
                progress(name, "is loaded")
                speed = engines.measure(found.state, where[name], model, tokens=1)
                progress.done(name, f"answered after {speed.first:.1f} s")
    return DONE
