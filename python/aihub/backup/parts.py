"""What of a hub is copied, part by part: whose data it is, and which unit of which guest copies it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from aihub.errors import InvalidInput, PreconditionFailed
from aihub.model import copying
from aihub.model.resolved import Consumer, Hub, Instance

FILES, SNAPSHOT = "files", "snapshot"


@dataclass(frozen=True)
class Part:
    """Volumes, a store's snapshot, or what a consumer keeps at a provider; copied by `keeper`'s guest."""

    owner: str  # STACK@GUEST, whose data it is
    tag: str  # the same by its id
    sort: str  # files, snapshot, dump:KIND:ROLE
    keeper: str  # STACK@GUEST, where it lies
    consumer: Consumer | None = None

    @property
    def guest(self) -> str:
        """The guest whose unit copies it, and in whose repository it is."""
        return self.keeper.rpartition("@")[2]

    @property
    def stack(self) -> str:
        """The stack whose unit copies it."""
        return self.keeper.rpartition("@")[0]

    @property
    def key(self) -> str:
        """What its copies are called, wherever it lies."""
        return f"{self.tag}/{self.sort}"

    @property
    def place(self) -> str:
        """The same with where it lies."""
        return f"{self.keeper}/{self.key}"

    @property
    def what(self) -> str:
        """It as a person reads it."""
        return f"{self.consumer.kind} at {self.keeper}" if self.consumer else self.sort

    @property
    def name(self) -> str:
        """The owner, and what of it."""
        return f"{self.owner}: {self.what}"


def parts(hub: Hub) -> tuple[Part, ...]:
    """Every part that is copied, by guests and instances."""
    return tuple(
        part for instance in hub.instances if instance.guest.name in hub.copiers for part in _of(hub, instance)
    )


def _of(hub: Hub, instance: Instance) -> Iterator[Part]:
    for one in copying.dumped(instance, hub.consumers):
        sort = f"dump:{one.kind}:{one.role}"
        yield Part(one.consumer, hub.instance(one.consumer).id, sort, instance.name, one)
    if copying.snapshot(instance):
        yield Part(instance.name, instance.id, SNAPSHOT, instance.name)
    if copying.volumes(instance):
        yield Part(instance.name, instance.id, FILES, instance.name)


def chosen(hub: Hub, names: Collection[str]) -> tuple[Part, ...]:
    """What these guests and instances keep, wherever it lies, and what others keep at them; everything for none.

    Raises InvalidInput for a name that hub.yml does not have, and PreconditionFailed where nothing is copied.
    """
    require_copies(hub)
    known = {*hub.guests, *(one.name for one in hub.instances)}
    if unknown := [name for name in names if name not in known]:
        raise InvalidInput(f"there is no guest or instance {', '.join(unknown)}", hint="aihub status")
    found = tuple(part for part in parts(hub) if not names or _is_of(part, names))
    if not found:
        what = f"nothing of {', '.join(names)} is copied" if names else "no instance keeps anything that is copied"
        raise PreconditionFailed(what, where=hub.path, hint="`data` in stack.yml says what is")
    return found


def require_copies(hub: Hub) -> None:
    """Raises PreconditionFailed for a hub that has nobody who keeps copies."""
    if not hub.copiers:
        raise PreconditionFailed(
            "no copies are made here", where=hub.path, hint="put a stack that gives restic on a guest"
        )


def _is_of(part: Part, names: Collection[str]) -> bool:
    return any(name in names for one in (part.owner, part.keeper) for name in (one, one.rpartition("@")[2]))
