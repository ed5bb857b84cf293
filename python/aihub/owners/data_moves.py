"""Instances that leave a guest with data on it and begin on another: what they keep comes along when somebody says so.

In one `up`: whose data it is stops, it is copied where it lies, the instance goes and begins in its new place, and the
copies are put back there. What lay on the guest that it left is kept, as ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aihub import names, words
from aihub.backup import making, moving, restoring
from aihub.backup.moving import Note
from aihub.backup.parts import SNAPSHOT
from aihub.errors import HubError, InvalidInput, PreconditionFailed, TaskFailed
from aihub.model import copying
from aihub.model.resolved import Guest, Instance
from aihub.model.stack import COPIES
from aihub.plan import Change
from aihub.screen import Progress

from . import services
from .run import Run

MOVED = "moved"  # of a change: the instance whose data it is about


@dataclass(frozen=True)
class Move:
    """An instance, and the guest on which it still stands with its data."""

    instance: Instance
    source: Guest
    had: bool  # whether something of it lies in its new place already

    @property
    def left(self) -> str:
        """Where its data lies."""
        return f"{names.data(self.instance.stack.name)} on {self.source.name}"


def look(run: Run, undeclared: Mapping[str, Sequence[str]]) -> Iterator[Change]:
    """The moves that are to be begun, and those that an earlier run has begun."""
    begun = {note.instance: note for note in _notes(run)}
    for move in _moves(run, undeclared):
        name = move.instance.name
        if name not in begun:
            begins = "takes up what lies there" if move.had else "begins empty"
            also = f"with --allow-move {name} --with-data what is in {move.left} comes along"
            text = f"it comes from {move.source.name} and {begins}; {also}"
            yield Change(f"{name}: its data", "update", "insides", "guest", text, details={MOVED: move})
    for note in begun.values():
        text = f"it is put back from the copy of {note.made}, as was begun"
        yield Change(f"{note.instance}: its data", "update", "insides", "guest", text, details={MOVED: None})


def _moves(run: Run, undeclared: Mapping[str, Sequence[str]]) -> Iterator[Move]:
    """Instances that `aihub move` has given their id along, and that still stand on the guest that they leave."""
    for instance in run.hub.instances:
        stack, guest = instance.stack.name, instance.guest
        known = copying.copied(instance) and instance.options.get("id")
        sources = [name for name, stacks in undeclared.items() if stack in stacks and name != guest.name]
        if known and len(sources) == 1 and run.standing(instance) == "new":
            inside = run.insides.get(guest.name)
            yield Move(instance, run.hub.guests[sources[0]], bool(inside and stack in inside.data))


def _notes(run: Run) -> Iterator[Note]:
    """The moves that are on their way to where hub.yml still wants the instance."""
    here = {instance.name for instance in run.hub.instances}
    return (note for note in moving.notes(run.state) if note.instance in here)


def _planned(run: Run) -> list[Move]:
    return [move for change in run.plan.changes if isinstance(move := change.details.get(MOVED), Move)]


def refuse(run: Run) -> None:
    """Raises PreconditionFailed when an instance would leave its data, or take it along where that can't be.

    Raises InvalidInput for data that is to come along with nobody.
    """
    moves, allowed = _planned(run), run.options.allow_move
    if left := [move for move in moves if move.instance.name not in allowed]:
        text = "\n".join(f"{one.instance.name}: its data is {one.left}, and it would begin without" for one in left)
        options = " ".join(f"--allow-move {one.instance.name}" for one in left)
        raise PreconditionFailed(
            f"an instance would leave its data behind\n{text}",
            hint=f"aihub up {options} --with-data takes it along; without --with-data it stays there",
        )
    if not run.options.with_data:
        return
    if not moves and not list(_notes(run)):
        raise InvalidInput("--with-data: no instance that is named moves with data", hint="aihub plan")
    for move in moves:
        _require_copies(run, move)


def _require_copies(run: Run, move: Move) -> None:
    name, later = move.instance.name, "aihub up without the move first"
    copier = run.hub.copiers.get(move.instance.guest.name)
    if copier is None:
        hint = "put a stack that gives restic on a guest first, or copy its data by hand"
        raise PreconditionFailed("data moves by its copies, and no copies are made here", where=name, hint=hint)
    kept = moving.kept_by(run.hub, move.instance)
    if not kept or any(part.sort == SNAPSHOT for part in kept):
        raise PreconditionFailed("what it keeps can't be put back by this version", where=name)
    if run.standing(run.hub.instance(copier.providers[COPIES])) != "there":
        raise PreconditionFailed("who keeps the copies does not serve yet", where=name, hint=later)


def copy(run: Run) -> None:
    """What comes along is copied where it lies, and written down; nothing changes it any more. Raises TaskFailed."""
    if not run.options.with_data or not (moves := _planned(run)):
        return
    with run.screen.progress("data that moves") as progress:
        for move in moves:
            name = move.instance.name
            try:
                moving.write(run.state, _copied(run, move, progress))
            except HubError as error:
                progress.failed(name, words.line(error.what))
                hint = "nothing was moved: aihub up again, or put it back in hub.yml; what was stopped starts with it"
                raise TaskFailed(error.what, where=name, hint=hint) from error
            progress.done(name, f"copied on {move.source.name}")


def _copied(run: Run, move: Move, progress: Progress) -> Note:
    instance, source = move.instance, move.source.name
    kept, stack = moving.kept_by(run.hub, instance), instance.stack.name
    standing = f"{stack}@{source}"
    for owner in dict.fromkeys(part.owner for part in kept if part.owner != instance.name):
        progress(owner, "stops")
        restoring.control(run.state, "stop", owner)
    if not any(part.consumer for part in kept):
        restoring.control(run.state, "stop", standing)  # its copy needs it not
    progress(instance.name, "is copied")
    making.one(run.state, source, stack)
    restoring.control(run.state, "stop", standing)
    found = moving.copied(run.hub, run.state, instance, move.source)
    newest = max(copies[0].at for copies in found.values())
    ids = {key: [one.id for one in copies] for key, copies in found.items()}
    return Note(instance.name, move.source.id, move.had, ids, f"{newest.astimezone():%Y-%m-%d %H:%M}")


def put_back(run: Run) -> None:
    """What came along is put back, where instances stand in their new place. Raises the first failure."""
    for note in moving.notes(run.state):
        if note.instance not in {one.name for one in run.hub.instances}:
            moving.forget(run.state, note)  # the move was taken back: its data never left
            continue
        run.may_write()
        source = next((one for one in run.hub.guests.values() if one.id == note.source), None)
        if source is None:
            hint = "put that guest back in hub.yml until this is done"
            raise PreconditionFailed(f"its data came from {note.source}", where=note.instance, hint=hint)
        with run.screen.progress("data that moves") as progress:
            progress(note.instance, f"takes over the copies of {source.name}")
            chosen = moving.transferred(run.hub, run.state, run.store, note, source)
            anew = services.making_anew(run, progress)
            restoring.restore(run.hub, run.state, chosen, anew, progress, aside=note.had)
        moving.forget(run.state, note)
