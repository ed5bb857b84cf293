"""`aihub rebuild GUEST`: a guest is copied, destroyed, made anew, and gets back what lay on it.

Where it was is written down, so that a run that was killed anywhere is finished by the same command: the copies that
are put back are those that were made before anything was destroyed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from aihub import report
from aihub.backup import listing, making, parts, restoring
from aihub.backup.listing import Copy
from aihub.backup.parts import Part
from aihub.backup.restoring import Restored
from aihub.guests import probe
from aihub.proxmox.guests import provision
from aihub.state import statefile

from ..errors import DONE, InvalidInput, PreconditionFailed, TaskFailed
from ..options import Options
from ..owners import guests, kept, resets, services
from ..owners.run import Run, find_target, opened, perform, take_lease
from ..plan import Plan
from . import up
from .power import disturbed


@dataclass(frozen=True)
class Note:
    """What a killed rebuild has to know: which copies come back, and whether the guest was destroyed already."""

    copies: dict[str, dict[str, object]]  # by KEEPER/TAG/SORT
    destroyed: bool = False


def run(options: Options) -> int:
    """0 when the guest is as it was, and every check passed."""
    (guest,) = options.only
    with opened(options, "rebuild", report, locked=True) as found:
        _require(found, guest)
        note = _noted(_path(found, guest)) or _copied(found, guest)
        _destroyed(found, guest, note)
    code = up.run(replace(options, only=(), no_verify=True))
    if code != DONE:
        return code
    with opened(options, "rebuild", report, locked=True) as found:
        perform(found, (find_target, take_lease))
        _put_back(found, guest)
        statefile.unlink(_path(found, guest))
    return up.run(replace(options, only=()))


def _path(run: Run, guest: str) -> Path:
    return run.state.directory / "rebuild" / f"{guest}.json"


def _require(run: Run, guest: str) -> None:
    """Raises InvalidInput and PreconditionFailed for a guest that can't be made anew from copies."""
    hub = run.hub
    if guest not in hub.guests:
        raise InvalidInput(f"there is no guest {guest}", hint=f"one of: {', '.join(hub.guests)}")
    parts.require_copies(hub)
    keepers = {hub.instance(one.provider).guest.name for copier in hub.copiers.values() for one in hub.uses(copier)}
    if guest in keepers:
        raise PreconditionFailed(
            "the copies lie on it", where=guest, hint="a second place for them is yours to make yet"
        )
    if hub.vault and hub.vault.guest.name == guest:
        raise PreconditionFailed("the secret store is not put back by this version", where=guest)


def _lying(run: Run, guest: str) -> tuple[Part, ...]:
    return tuple(part for part in parts.parts(run.hub) if part.guest == guest)


def _copied(run: Run, guest: str) -> Note:
    """Asks, copies what lies on the guest, and writes down which copies those are."""
    perform(run, (find_target,))
    run.guests = guests.read(run)
    resets.refuse_power(run, guest, "rebuild")
    _refuse_losses(run, guest)
    wanted = _lying(run, guest)
    report.say(
        f"{guest} is copied, destroyed, made anew and gets back: {', '.join(p.name for p in wanted) or 'nothing'}"
    )
    if users := disturbed(run.hub, guest):
        report.say(f"it is used by {', '.join(users)}")
    if run.hub.target.needs_people and not run.options.yes and not report.confirm(f"Rebuild {guest}?"):
        raise PreconditionFailed("not confirmed: nothing was changed", hint="the same command with --yes")
    perform(run, (take_lease,))
    note = Note(_copies(run, wanted))
    for key, made in note.copies.items():
        report.say(f"{key}: the copy of {made['at']}")
    statefile.replace(_path(run, guest), json.dumps(asdict(note)))
    return note


def _refuse_losses(run: Run, guest: str) -> None:
    """Raises PreconditionFailed where data lies there that nobody declares, or that can't be looked for."""
    if run.options.no_backup:
        return
    run.insides = probe.read(run.hub, run.state, [guest])
    if error := run.insides[guest].error:
        hint = f"if it is beyond help, with the copies that there are: aihub rebuild {guest} --no-backup"
        raise PreconditionFailed(error, where=guest, hint=hint)
    if left := list(kept.volumes(run)):
        what = ", ".join(f"{one.what} of {one.holder}" for one in left)
        raise PreconditionFailed(f"{what} would be lost: nobody declares it", where=guest, hint="aihub plan")


def _copies(run: Run, wanted: Sequence[Part]) -> dict[str, dict[str, object]]:
    """The newest copy of each part, made now, or with --no-backup as they are."""
    if not run.options.no_backup:
        with report.progress("backup") as progress:
            for error in making.make(run.state, wanted, progress).values():
                raise error
    found = listing.look(run.hub, run.state, wanted)
    chosen = restoring.choose(found, None)
    return {one.part.place: {**asdict(one.copy), "at": one.copy.at.isoformat()} for one in chosen}


def _destroyed(run: Run, guest: str, note: Note) -> None:
    """The guest goes, unless an earlier run has done that."""
    if note.destroyed:
        return
    perform(run, (find_target, take_lease))
    px = run.proxmox()
    actual = px.read(run.hub)
    every = provision.down_plan(run.hub, actual)
    going = Plan(tuple(one for one in every.changes if one.subject == guest))
    if going.changes:
        provision.require_possible(px, going, actual)
        with report.progress("rebuild") as progress:
            provision.down(px, run.hub, going, run.journal, progress)
    statefile.replace(_path(run, guest), json.dumps(asdict(replace(note, destroyed=True))))


def _put_back(run: Run, guest: str) -> None:
    note = _noted(_path(run, guest))
    if note is None:
        raise TaskFailed("what was to be put back is not known any more", where=guest, hint="aihub restore")
    known = {part.place: part for part in _lying(run, guest)}
    chosen = [Restored(known[key], _copy(made)) for key, made in note.copies.items() if key in known]
    if chosen:
        with report.progress("restore") as progress:
            restoring.restore(run.hub, run.state, chosen, services.making_anew(run, progress), progress, aside=False)


def _noted(path: Path) -> Note | None:
    return Note(**json.loads(path.read_text())) if path.exists() else None


def _copy(made: dict[str, object]) -> Copy:
    return Copy(**{**made, "at": datetime.fromisoformat(str(made["at"]))})  # type: ignore[arg-type]
