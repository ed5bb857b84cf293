"""`aihub models bench`: how quick each model is."""

from __future__ import annotations

from aihub import report
from aihub.services import engines

from ...errors import DONE
from ...options import Options
from ...owners.run import find_target, opened, perform
from . import card, chosen


def run(options: Options) -> int:
    """Asks one model after the other, twice: the first time it may have to be loaded."""
    with opened(options, "models bench", report, reads=True) as found:
        models = chosen(found.hub, options.only)
        perform(found, (find_target,))
        where, stands_in = engines.engines(found.hub), found.target.labels(found.hub)
        rows = []
        with found.screen.progress("Measure models") as progress:
            for name, model in models.items():
                progress(name, "is asked")
                engines.measure(found.state, where[name], model, tokens=1)
                speed = engines.measure(found.state, where[name], model)
                label = stands_in.get(name, "")
                rows.append(report.SpeedRow(name, model, where[name].name, card(found.hub, where[name]), label, speed))
                progress.done(name)
        if options.as_json:
            report.as_json([row.as_json() for row in rows])
        else:
            report.speeds(rows)
    return DONE
