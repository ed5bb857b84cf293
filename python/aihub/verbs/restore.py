"""`aihub restore GUEST|STACK@GUEST`: what an instance keeps becomes what it was at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, time

from aihub import report
from aihub.backup import listing, parts, restoring
from aihub.services import service as services

from ..errors import DONE, InvalidInput, PreconditionFailed
from ..options import Options
from ..owners.run import Run, find_target, opened, perform, take_lease
from ..plan import Change
from ..screen import Progress


def run(options: Options) -> int:
    """Shows what takes the place of what, and who is stopped meanwhile; a person agrees to that where people are."""
    moment = _moment(options.at)
    with opened(options, "restore", report, locked=True) as found:
        wanted = parts.chosen(found.hub, options.only)
        perform(found, (find_target,))
        chosen = restoring.choose(listing.look(found.hub, found.state, wanted), moment)
        for one in chosen:
            report.say(f"{one.part.name}: as it was {one.copy.at.astimezone():%Y-%m-%d %H:%M}")
        _agree(found, restoring.disturbed(found.hub, chosen))
        perform(found, (take_lease,))
        with report.progress("restore") as progress:
            aside = not options.no_backup
            restoring.restore(found.hub, found.state, chosen, making_anew(found, progress), progress, aside=aside)
    return DONE


def making_anew(run: Run, progress: Progress) -> Callable[[str], None]:
    """What makes at an instance what its consumers' logins need there and is gone; nothing is removed by it."""

    def make_anew(instance: str) -> None:
        services.apply(run.hub, run.state, run.store, [instance], _refuse_losses, progress)

    return make_anew


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


def _refuse_losses(changes: Sequence[Change]) -> None:
    """Only what is missing is made here: the rest waits for `aihub up`."""
    if lost := [one.subject for one in changes if one.action == "delete" or one.data_at_risk]:
        raise PreconditionFailed(f"it has what nobody declares: {', '.join(lost)}", hint="aihub up")
