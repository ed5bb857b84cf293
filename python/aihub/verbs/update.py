"""`aihub update [STACK@GUEST]...`: a new version begins, and where it does not do well, the former one comes back.

One instance after the other: its version is set aside on its guest with its data, what it keeps elsewhere is copied,
`up` makes the new one, the checks decide. Where the update stands is written down, so that the same command finishes
one that was killed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from aihub import names, report, ssh, words
from aihub.backup import listing, making, parts, restoring, versions
from aihub.backup.listing import Copies
from aihub.backup.parts import Part
from aihub.backup.restoring import Restored
from aihub.guests import former, held
from aihub.guests.probe.compare import STACK, TEXTS
from aihub.model.resolved import Instance
from aihub.state import statefile

from ..errors import DONE, CheckFailed, HubError, InvalidInput, PreconditionFailed, TaskFailed, Unreachable
from ..options import Options
from ..owners import services
from ..owners.run import Run, find_target, opened, perform, take_lease
from . import plan, up

_IMAGE = "image "
_START = 1800.0  # seconds until an instance is healthy


@dataclass(frozen=True)
class Note:
    """Where the update of an instance is."""

    began: str
    copies: dict[str, str]  # of what it keeps elsewhere, by KEEPER/TAG/SORT: the snapshots that come back
    failed: str = ""  # why the former version comes back


def run(options: Options) -> int:
    """0 when every new version runs and passed its checks; 1 when one of them is back at its former version."""
    with opened(options, "update", report, locked=True) as found:
        wanted = _chosen(found)
        if wanted:
            report.say(f"to be updated, one after the other: {', '.join(wanted)}")
            _agree(found)
    if not wanted:
        report.say("nothing to update: every instance runs what its folder says")
    for name in wanted:
        _update(replace(options, only=(name,), yes=True))
    return DONE


def _chosen(run: Run) -> list[str]:
    """What was named, else every instance whose images differ. Raises InvalidInput for who is no instance."""
    known = {one.name for one in run.hub.instances}
    if unknown := [name for name in run.options.only if name not in known]:
        raise InvalidInput(f"there is no instance {', '.join(unknown)}", hint=f"one of: {', '.join(sorted(known))}")
    begun = [name for name in sorted(known) if _path(run, name).exists()]
    perform(run, plan.STEPS)
    named = list(run.options.only) or [*begun, *(name for name in _newer(run) if name not in begun)]
    if others := [name for name in begun if name not in named]:
        raise PreconditionFailed(f"an update of {others[0]} is not finished", hint=f"aihub update {others[0]}")
    return named


def _newer(run: Run) -> Iterator[str]:
    """The instances that run with other images than their folder names, and those that are held."""
    known = {one.name for one in run.hub.instances}
    yield from held.in_force(run.hub, run.state)
    for change in run.plan.of("insides"):
        for part, texts in change.details.get(TEXTS, {}).items():
            name = f"{part.removeprefix(STACK)}@{change.subject}"
            if part.startswith(STACK) and name in known and any(_IMAGE in text and "->" in text for text in texts):
                yield name


def _agree(run: Run) -> None:
    if run.hub.target.needs_people and not run.options.yes and not report.confirm("Update them?"):
        raise PreconditionFailed("not confirmed: nothing was changed", hint="the same command with --yes")


def _update(options: Options) -> None:
    """One instance. Raises TaskFailed when it is back at its former version."""
    (name,) = options.only
    with opened(options, "update", report, locked=True) as found:
        perform(found, (find_target, take_lease))
        note = _noted(_path(found, name)) or _set_aside(found, found.hub.instance(name))
    if not note.failed:
        try:
            note = replace(note, failed=_tried(options))
        except HubError:
            _end(options, name, start=True)  # nothing was changed
            raise
        if not note.failed:
            _end(options, name)
            return
    with opened(options, "update", report, locked=True) as found:
        statefile.replace(_path(found, name), json.dumps(asdict(note)))
        perform(found, (find_target, take_lease))
        _return(found, found.hub.instance(name), note)
    raise TaskFailed(
        f"{note.failed}\nit is back at its former version, with the data that it had",
        where=name,
        hint=f"aihub logs {name}; mend its folder, then aihub update {name}",
    )


def _set_aside(run: Run, instance: Instance) -> Note:
    """What is needed for the way back; the instance is stopped then."""
    name, state = instance.name, run.state
    elsewhere = [] if run.options.no_backup else _elsewhere(run, instance)
    held.release(state, name)
    with report.progress("the way back") as progress:
        progress(name, "its version is set aside")
        former.keep(state, instance)
        try:
            note = Note(datetime.now(UTC).isoformat(), _copies(run, elsewhere))
            statefile.replace(_path(run, name), json.dumps(asdict(note)))
        except BaseException:
            _start(run, instance)
            former.forget(state, instance)
            raise
        progress.done(name, "its version is set aside")
    return note


def _elsewhere(run: Run, instance: Instance) -> list[Part]:
    """What an instance keeps at others. Raises PreconditionFailed where that is not copied."""
    found = [part for part in parts.parts(run.hub) if part.owner == instance.name and part.keeper != instance.name]
    uses = [one for one in run.hub.uses(instance) if one.strategy and run.hub.offer(one).dump]
    if len(found) < len(uses):
        providers = ", ".join(dict.fromkeys(one.provider for one in uses))
        hint = "put a stack that gives restic on a guest; or without a way back for that data: --no-backup"
        raise PreconditionFailed(f"what it keeps at {providers} is not copied", where=instance.name, hint=hint)
    return found


def _copies(run: Run, wanted: list[Part]) -> dict[str, str]:
    if not wanted:
        return {}
    with report.progress("backup") as progress:
        for error in making.make(run.state, wanted, progress).values():
            raise error
    return {one.part.place: one.copy.id for one in restoring.choose(listing.look(run.hub, run.state, wanted), None)}


def _tried(options: Options) -> str:
    """The new version is made; why that did not end well, where it did not."""
    try:
        code = up.run(options)
    except (TaskFailed, CheckFailed, Unreachable) as error:
        return words.line(error.what.strip(), 300)
    return "" if code == DONE else "its checks failed"


def _end(options: Options, name: str, *, start: bool = False) -> None:
    """What was set aside goes."""
    with opened(options, "update", report, locked=True) as found:
        perform(found, (find_target, take_lease))
        if start:
            _start(found, found.hub.instance(name))
        former.forget(found.state, found.hub.instance(name))
        statefile.unlink(_path(found, name))


def _return(run: Run, instance: Instance, note: Note) -> None:
    """The former version, its data, and what it kept elsewhere; held there until its folder changes."""
    name, state = instance.name, run.state
    with report.progress("the way back") as progress:
        progress(name, "its former version comes back")
        former.put_back(state, instance)
        now = datetime.now(UTC)
        held.hold(run.hub, state, instance, words.line(note.failed, 200), f"{now.astimezone():%Y-%m-%d %H:%M}")
        versions.take_back(state, instance, datetime.fromisoformat(note.began))
        if note.copies:
            wanted = _elsewhere(run, instance)
            chosen = [_former(one, note) for one in listing.look(run.hub, state, wanted)]
            restoring.restore(run.hub, state, chosen, services.making_anew(run, progress), progress, aside=False)
        _start(run, instance)
        former.forget(state, instance)
        statefile.unlink(_path(run, name))
        progress.done(name, "its former version runs")


def _former(found: Copies, note: Note) -> Restored:
    """The copy of a part that was made before. Raises TaskFailed where it is gone."""
    for copy in found.copies:
        if copy.id == note.copies.get(found.part.place):
            return Restored(found.part, copy)
    raise TaskFailed(f"the copy that was made before is gone {found.error}".rstrip(), where=found.part.name)


def _start(run: Run, instance: Instance) -> None:
    unit = names.unit(instance.stack.name)
    ssh.run(run.state, instance.guest.name, f"systemctl reset-failed {unit}; systemctl start {unit}", timeout=_START)


def _path(run: Run, name: str) -> Path:
    return run.state.directory / "updates" / f"{name}.json"


def _noted(path: Path) -> Note | None:
    return Note(**json.loads(path.read_text())) if path.exists() else None
