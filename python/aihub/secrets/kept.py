"""What nobody declares any more: the store's entries that go with their instance, and those kept with its data.

An entry says itself what keeps it (custom metadata, no secret): when its instance is gone, nobody else knows. `never`
encrypts some of that data; `given` was typed by a person, who may not have it any more; `login` is aihub's own login at
a provider, whose data may take no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aihub.model.resolved import Hub, SecretRef
from aihub.services.secrets import Entry, Marked

KEEP, INSTANCE = "keep", "instance"
FOLDERS = ("hub", "operator/pair")
"""Where entries of instances lie; the journal of rotations beside them has its own rules."""


@dataclass(frozen=True)
class Left:
    """An entry that nobody declares. `keep` is why it is kept with the data of `instance`; empty: it goes."""

    path: str
    instance: str = ""  # its id
    keep: str = ""


def left(hub: Hub, store: Marked) -> tuple[Left, ...]:
    """Every entry of an instance, or of a role at a provider, that the hub does not declare."""
    declared = {*(pair.path for pair in hub.pairs), *(ref.path for ref in hub.secrets)}
    return tuple(_left(hub, store, declared))


def kept(hub: Hub, store: Marked) -> tuple[Left, ...]:
    """The entries that are kept with the data of an instance which is gone, or has no use for them now."""
    return tuple(one for one in left(hub, store) if one.keep)


def destroy(hub: Hub, store: Marked, instance: str) -> tuple[str, ...]:
    """The kept entries of an instance (its id) go, with every version; gives their paths. Declared ones stay."""
    gone = tuple(one.path for one in kept(hub, store) if one.instance == instance)
    for path in gone:
        store.destroy(path)
    return gone


def mark(hub: Hub, store: Marked, ref: SecretRef, entry: Entry | None) -> bool:
    """An entry says what keeps it, there or still to be made; whether it did not."""
    if not differs(hub, ref, entry):
        return False
    store.mark(ref.path, wanted(hub, ref))
    return True


def differs(hub: Hub, ref: SecretRef, entry: Entry | None) -> bool:
    """Whether an entry says something else of what keeps it than the hub does."""
    have: Mapping[str, str] = entry.marks if entry else {}
    return any(have.get(key, "") != text for key, text in wanted(hub, ref).items())


def wanted(hub: Hub, ref: SecretRef) -> dict[str, str]:
    """What an entry is to say of itself; an empty text is no mark."""
    return {KEEP: ref.keep or "", INSTANCE: hub.instance(ref.instance).id if ref.keep else ""}


def _left(hub: Hub, store: Marked, declared: set[str]) -> Iterator[Left]:
    for path in (path for folder in FOLDERS for path in store.list(folder)):
        if path not in declared:
            marks = store.marks(path) or {}  # one that has no value holds nothing that could be kept
            keep = marks.get(KEEP, "")
            yield Left(path, marks.get(INSTANCE, "") if keep else "", keep)
