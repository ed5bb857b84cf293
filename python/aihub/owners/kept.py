"""Data that nobody declares any more: volumes on guests, objects at providers, entries of the store.

It stays until `--allow-destroy STACK@GUEST` names the instance whose it was, by its id; what cannot be traced to an
instance is named by its place, PROVIDER/OBJECT. Being kept is no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import product

from aihub import words
from aihub.errors import InvalidInput
from aihub.model.resolved import Hub, role_of
from aihub.names import data
from aihub.plan import Change, Kept
from aihub.reading import load
from aihub.secrets.kept import Left

from .run import Run

NAMED = "named"  # of a change: somebody has named what it removes


def volumes(run: Run) -> Iterator[Kept]:
    """Folders of volumes on guests, of stacks that do not stand there any more."""
    for guest, inside in run.insides.items():
        declared = {instance.stack.name for instance in run.hub.on(guest)}
        for stack in inside.data:
            if stack not in declared:
                place = f"{data(stack)} on guest {guest}"
                yield Kept(f"{stack}@{run.hub.guests[guest].id}", "volumes", place, {"guest": guest, "stack": stack})


def forgotten(run: Run) -> frozenset[str]:
    """The objects at providers that may go: of instances that somebody named, or named themselves."""
    allowed = run.options.allow_destroy
    if not allowed:
        return frozenset()  # every stack's manifest is read for the rest
    return frozenset({*allowed, *(name for name, whose in _owners(run.hub).items() if whose in allowed)})


def objects(run: Run, found: Mapping[str, tuple[str, ...]]) -> Iterator[Kept]:
    """What providers hold for nobody, by the provider's name."""
    owners = _owners(run.hub) if any(found.values()) else {}
    for provider, names in found.items():
        for name in names:
            holder = owners.get(name) or f"{provider}/{name}"
            details = {"provider": provider, "object": name}
            yield Kept(words.line(holder), words.line(name), f"at {provider}", details)


def secrets(left: Iterable[Left]) -> Iterator[Kept]:
    """Entries of the store, of those that nobody declares, that are kept with an instance's data."""
    for one in (one for one in left if one.keep):
        yield Kept(one.instance, f"secret {one.path.rpartition('/')[2]} ({one.keep})", f"entry {one.path}")


def owner(hub: Hub, name: str) -> str:
    """The instance, by its id, whose an object at a provider would be; empty where nobody's."""
    return _owners(hub).get(name, "")


def removal(found: Kept) -> Change:
    """The end of volumes that somebody named."""
    lost = f"{found.what} {found.where}"
    subject = f"{found.holder}: {lost}"
    return Change(
        subject, "delete", "insides", "guest", "kept for nobody", data_at_risk=lost, details={**found.details}
    )


def _owners(hub: Hub) -> dict[str, str]:
    """What any instance of any stack on these guests would have at providers, and whose it would be."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    for name in load.stack_names():
        with suppress(InvalidInput):  # one that nobody uses may be half written
            stack = hub.stacks.get(name) or load.stack(name)
            for whose, need in product((f"{name}@{guest.id}" for guest in hub.guests.values()), stack.possible):
                if found.setdefault(role_of(whose, need.key), whose) != whose:
                    twice.add(role_of(whose, need.key))
    return {role: whose for role, whose in found.items() if role not in twice}
