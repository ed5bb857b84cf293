"""`aihub models list`: every model of hub.yml, what it takes, and whether its engine serves it."""

from __future__ import annotations

from aihub import parallel, report
from aihub.errors import HubError
from aihub.model.rules.models import needs_of
from aihub.services import engines

from ...errors import DONE, TaskFailed
from ...options import Options
from ...owners.run import find_target, opened, perform
from . import card, chosen


def run(options: Options) -> int:
    """Prints the table; 1 when an engine can't be asked or lacks a model."""
    with opened(options, "models list", report, reads=True) as found:
        models = chosen(found.hub, options.only)
        perform(found, (find_target,))
        where = engines.engines(found.hub)
        asked = {where[name].name: where[name] for name in models}
        there = parallel.on_each(asked, lambda name: engines.listed(found.state, asked[name]))
        needs, stands_in = needs_of(found.hub.file, found.hub.stacks, models), found.target.labels(found.hub)
        rows = []
        for (name, model), need in zip(models.items(), needs, strict=True):
            told = there[where[name].name]
            if isinstance(told, HubError):
                state = f"its engine can't be asked: {told.what}"
            else:
                state = report.SERVED if engines.has(told, model, name) else "its engine does not have it: aihub up"
            engine, label = where[name], stands_in.get(name, "")
            rows.append(
                report.ModelRow(name, model, engine.name, card(found.hub, engine), label, need.total, need.known, state)
            )
        if options.as_json:
            report.as_json([row.as_json() for row in rows])
        else:
            report.models(rows)
    return DONE if all(row.state == report.SERVED for row in rows) else TaskFailed.exit_code
