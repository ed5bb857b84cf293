"""`aihub restore GUEST|STACK@GUEST`: what an instance keeps becomes what it was at a time."""

from __future__ import annotations

from datetime import datetime, time

from aihub import report
from aihub.backup import listing, parts, restoring

from ..errors import DONE, InvalidInput, PreconditionFailed
from ..options import Options
from ..owners import services
from ..owners.run import Run, find_target, opened, perform, take_lease


def run(options: Options) -> int:
    """Shows what takes the place of what, and who is stopped meanwhile; a person agrees to that where people are."""
    moment = _moment(options.at)
    with opened(options, "restore", report, locked=True) as found:
        wanted = parts.chosen(found.hub, options.only)
        perform(found, (find_target,))
        chosen = restoring.choose(listing.look(found.hub, found.state, wanted), moment)
        restoring.refuse_newer(found.hub, found.state, chosen)
        for one in chosen:
            report.say(f"{one.part.name}: as it was {one.copy.at.astimezone():%Y-%m-%d %H:%M}")
        _agree(found, restoring.disturbed(found.hub, chosen))
        perform(found, (take_lease,))
        with report.progress("restore") as progress:
            aside = not options.no_backup
            restoring.restore(
                found.hub, found.state, chosen, services.making_anew(found, progress), progress, aside=aside
            )
    return DONE


def _moment(text: str) -> datetime | None:
    """A time of this machine's clock; of a day its end. Raises InvalidInput."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f'"{text}" is no time', hint="like 2026-11-29 or 2026-11-29T03:00") from None
    return (datetime.combine(found.date(), time.max) if len(text) == 10 else found).astimezone()


def _agree(run: Run, stopped: tuple[str, ...]) -> None:
    if stopped:
        report.say(f"stopped meanwhile: {', '.join(stopped)}")
    if run.hub.target.needs_people and not run.options.yes and not report.confirm("Put these copies back?"):
        raise PreconditionFailed("not confirmed: nothing was changed", hint="the same command with --yes")
