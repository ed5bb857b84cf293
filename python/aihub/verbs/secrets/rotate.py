"""`aihub secrets rotate [INSTANCE[/NAME]]...`: replaces secrets that are in use, without a failed login."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aihub import report
from aihub.secrets import rotation
from aihub.secrets.rotation import catalog
from aihub.secrets.rotation.catalog import Rotatable

from ...errors import DONE, InvalidInput, PreconditionFailed
from ...options import Options
from ...owners import vault
from ...owners.run import Run, Step, find_target, opened, perform, take_lease
from . import alone, status

REACH: tuple[Step, ...] = (find_target,)


def run(options: Options) -> int:
    """Shows what is disturbed, finishes what an earlier run began, replaces; 0 when all of it is done."""
    if not (options.only or options.every or options.due):
        raise InvalidInput("nothing was named", hint="aihub secrets rotate INSTANCE[/NAME], --due or --all")
    with opened(options, "secrets rotate", report) as found:
        wanted, left = catalog.replaceable(found.hub, options.only, every=options.every or not options.only)
        alone(found, "secrets rotate")
        perform(found, REACH)
        rows = status.rows(found)
        begun = [row.name for row in rows if row.in_flight]
        wanted = _due(wanted, rows) if options.due else wanted
        shown = [row for row in rows if row.name in {*begun, *(one.name for one in wanted)}]
        left = () if options.due else left
        for one in left:
            report.say(f"left out: {one.name} {one.fixed}")
        if not shown:
            return _nothing(options, left)
        if not options.as_json:
            report.to_replace(shown)
        perform(found, (_confirm, take_lease))
        return _replace(found, wanted, left)


def _due(wanted: Sequence[Rotatable], rows: Sequence[report.SecretRow]) -> tuple[Rotatable, ...]:
    late = {row.name for row in rows if row.due}
    return tuple(one for one in wanted if one.name in late)


def _confirm(run: Run) -> None:
    if not run.hub.target.needs_people or run.options.yes:
        return
    if not report.confirm("Replace these?"):
        raise PreconditionFailed("not confirmed: nothing was changed", hint="the same command with --yes")


def _replace(run: Run, wanted: Sequence[Rotatable], left: Sequence[Rotatable]) -> int:
    with report.progress("rotation") as progress:
        with rotation.of(run.hub, run.state, run.vault()) as outside:
            outcomes = rotation.rotate(outside, wanted, progress)
        for one in outcomes:
            if one.error:
                progress.failed(one.name, one.error.what)
        vault.keep_kit(run, progress)
    if run.options.as_json:
        ends = [replace(one, error=None) for one in outcomes]
        done = [{**vars(e), "error": o.error.what if o.error else ""} for e, o in zip(ends, outcomes, strict=True)]
        report.as_json({"rotated": done, "left_out": [one.name for one in left]})
    else:
        report.replaced(outcomes)
    rotation.raise_first(outcomes)
    return DONE


def _nothing(options: Options, left: Sequence[Rotatable]) -> int:
    if options.as_json:
        report.as_json({"rotated": [], "left_out": [one.name for one in left]})
    else:
        report.say("nothing is due" if options.due else "there is nothing to replace")
    return DONE
