"""What an instance keeps comes along to another guest: from the copies of the guest that it leaves, by who keeps them.

Copies are made before anything is changed, and put back once the instance stands in its new place; written down in
between, so that a run that was killed is finished by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from aihub import ssh
from aihub.errors import HubError, TaskFailed
from aihub.model import copying
from aihub.model.derive import shown
from aihub.model.resolved import Consumer, Guest, Hub, Instance
from aihub.model.stack import COPIES
from aihub.render.copying import run_for
from aihub.services.secrets import Secrets
from aihub.state import statefile
from aihub.state.directory import State

from . import listing, parts
from .listing import Copies, Copy
from .parts import Part
from .restoring import PROGRAM, Restored

_SECONDS = 12 * 3600.0


@dataclass(frozen=True)
class Note:
    """A move on its way: whose data, between which guests, and the copies of each part, the newest first."""

    instance: str  # STACK@GUEST where it goes to
    source: str  # the id of the guest that it leaves
    had: bool  # whether something of it lay there already
    copies: dict[str, list[str]]  # by TAG/SORT
    made: str  # when the newest of them was made, as a person reads it


def notes(state: State) -> tuple[Note, ...]:
    """The moves that are on their way."""
    return tuple(Note(**json.loads(path.read_text())) for path in sorted(_folder(state).glob("*.json")))


def write(state: State, note: Note) -> None:
    """Writes down where a move is."""
    statefile.replace(_folder(state) / f"{note.instance}.json", json.dumps(asdict(note)))


def forget(state: State, note: Note) -> None:
    """A move that is done, or that nobody wants any more."""
    statefile.unlink(_folder(state) / f"{note.instance}.json")


def _folder(state: State) -> Path:
    return state.directory / "moves"


def kept_by(hub: Hub, instance: Instance) -> tuple[Part, ...]:
    """Everything that lies at an instance and is copied."""
    return tuple(part for part in parts.parts(hub) if part.keeper == instance.name)


def copied(hub: Hub, state: State, instance: Instance, source: Guest) -> dict[str, list[Copy]]:
    """The copies of what an instance keeps, in the repository of the guest that it leaves; by TAG/SORT.

    Raises TaskFailed for a part that has none.
    """
    keeper, found = _keeper(hub, instance), dict[str, list[Copy]]()
    listed = listing.listed(state, keeper, _own(copying.copier(source)).role)
    for part in kept_by(hub, instance):
        copies = [one for one in listing.copies(part, listed).copies if not one.aside]
        if not copies:
            raise TaskFailed(f"{source.name} has no copy of it", where=part.name, hint="aihub backups")
        found[part.key] = copies
    return found


def transferred(hub: Hub, state: State, store: Secrets, note: Note, source: Guest) -> tuple[Restored, ...]:
    """Has the copies taken over into the repository of the guest where the instance stands now; what is put back."""
    instance = hub.instance(note.instance)
    keeper, guest = _keeper(hub, instance), instance.guest.name
    ssh.run(state, guest, [PROGRAM, "need"], timeout=_SECONDS)
    entry = store.read(f"{copying.copier(source).folder}/{copying.PASSWORD}")
    if entry is None:
        raise TaskFailed(f"the key of the copies of {source.name} is gone", where=note.instance)
    lines = [_own(copying.copier(source)).shows, entry.data["value"]]
    lines += dict.fromkeys(one for copies in note.copies.values() for one in copies)
    role = _own(hub.copiers[guest]).role
    program = keeper.stack.gives[COPIES].transfer
    if program is None:
        raise HubError("nothing says how copies are taken over", where=f"stacks/{keeper.stack.name}/stack.yml")
    command = run_for(keeper, program, role)
    ssh.run(state, keeper.guest.name, command, stdin="".join(f"{one}\n" for one in lines).encode(), timeout=_SECONDS)
    now = listing.look(hub, state, kept_by(hub, instance))
    return tuple(_newest(one, note.copies[one.part.key]) for one in now if one.part.key in note.copies)


def _newest(found: Copies, wanted: Sequence[str]) -> Restored:
    """What the newest copy of a part is called in its new repository. Raises TaskFailed where it is not there."""
    for one in found.copies:
        if wanted[0] in (one.id, one.original):
            return Restored(found.part, one)
    raise TaskFailed(f"the copy {wanted[0][:12]} was not taken over {found.error}".rstrip(), where=found.part.name)


def _keeper(hub: Hub, instance: Instance) -> Instance:
    return hub.instance(hub.copiers[instance.guest.name].providers[COPIES])


def _own(copier: Instance) -> Consumer:
    """How the copies of a guest are called by who keeps them."""
    role = copier.object_name(copying.OWN)
    return Consumer("", copier.name, COPIES, copying.OWN, role, shows=shown(copier, role, COPIES))
