"""The store's entries as the plan has them: what is made, what says how long it is kept, and what goes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal

from aihub.model.resolved import Hub, Instance
from aihub.plan import Change
from aihub.secrets import kept, store
from aihub.secrets.kept import Left
from aihub.vault.client import Vault

ENTRY, MOVED = "entry", "moved"
Action = Literal["create", "update", "delete"]


def first(hub: Hub, instance: Instance) -> Iterator[Change]:
    """What an empty store gets; `instance` is the store's own."""
    return (_change(instance, path, "create", "missing") for path in store.generated(hub))


def look(
    hub: Hub, instance: Instance, vault: Vault, left: Iterable[Left], allowed: Collection[str] = ()
) -> Iterator[Change]:
    """Entries that are missing, that do not say what keeps them, or that nobody declares.

    `left` is what nobody declares; what of it is kept with an instance's data goes with it, when that is in `allowed`.
    """
    found = store.entries(hub, vault)
    yield from (_change(instance, path, "create", "missing") for path in store.missing(hub, found))
    for pair in store.elsewhere(hub, found):
        if pair.entry:
            why = f"a login at {pair.provider}, and not where it was before"
            yield _change(instance, pair.entry.path, "update", why, {MOVED: pair.entry.instance})
    for ref in hub.secrets:
        if found[ref.path] is not None and kept.differs(hub, ref, found[ref.path]):
            why = "says that it is kept with its instance's data" if ref.keep else "goes with its instance from now on"
            yield _change(instance, ref.path, "update", why)
    for one in left:
        if not one.keep:
            yield _change(instance, one.path, "delete", "nobody declares it")
        elif one.instance in allowed:
            yield _change(instance, one.path, "delete", f"it was kept with the data of {one.instance}")


def apply(hub: Hub, vault: Vault, agreed: Iterable[Change], say: Callable[[str], None]) -> None:
    """Every entry that the hub declares is there, and those go that were agreed to."""
    for path in store.ensure(hub, vault):
        say(f"made {path}")
    for change in agreed:
        if change.action == "delete" and ENTRY in change.details:
            vault.destroy(change.details[ENTRY])
            say(f"removed {change.details[ENTRY]}")


def moved(agreed: Iterable[Change]) -> list[str]:
    """The instances that get a login at another provider than before."""
    return list(dict.fromkeys(change.details[MOVED] for change in agreed if MOVED in change.details))


def _change(
    instance: Instance, path: str, action: Action, why: str, more: Mapping[str, str] = MappingProxyType({})
) -> Change:
    details = {ENTRY: path, **more}
    return Change(f"{instance.name}: entry {path}", action, "vault", "vault", why, details=details)
