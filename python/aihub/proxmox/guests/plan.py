"""The plan for Proxmox objects: which guests to create, update, start or remove; pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from aihub.errors import Conflict, PreconditionFailed
from aihub.model.resolved import Guest, Hub
from aihub.names import pool
from aihub.plan import Change, Plan
from aihub.proxmox.properties import addresses
from aihub.proxmox.state import ActualGuest, ActualGuests
from aihub.state.journal import Entry

from . import changes, desired
from .compare import deviation
from .desired import Wanted


@dataclass
class _Draft:
    taken: frozenset[int]
    changes: list[Change] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def free(self, vmid: int) -> int:
        """The next number that neither a visible guest nor hub.yml has."""
        return next(n for n in itertools.count(vmid + 1) if n not in self.taken)


def plan(
    hub: Hub,
    actual: ActualGuests,
    keys: Sequence[str] = (),
    *,
    journal: Mapping[int, Entry] | None = None,
    allow_destroy: Collection[str] = frozenset(),
) -> Plan:
    """What `up` would do to Proxmox objects.

    `journal` holds the entries of an unfinished run. Raises Conflict for foreign guests on our numbers, and
    PreconditionFailed for what Proxmox cannot do; each with every case found.
    """
    draft = _Draft(frozenset(actual.guests) | {g.vmid for g in hub.guests.values()})
    for guest in hub.guests.values():
        entry = (journal or {}).get(guest.vmid)
        _guest(draft, hub, desired.wanted(hub, guest, keys), actual.guests.get(guest.vmid), entry, allow_destroy)
    by_address = {str(guest.address): guest for guest in hub.guests.values()}
    for have in leftovers(hub, actual):
        _leftover(draft, by_address, have, allow_destroy)
    _namesakes(draft, hub, actual)
    _raise(draft)
    return Plan(changes=tuple(draft.changes), warnings=tuple(draft.warnings))


def down_plan(hub: Hub, actual: ActualGuests) -> Plan:
    """The removal of every guest that carries this hub's marker, and of nothing else."""
    ours = [g for g in actual.guests.values() if g.belongs_to(hub.id)]
    ours.sort(key=lambda guest: guest.vmid)
    return Plan(changes=tuple(changes.delete(g, "hub.yml goes down", called(hub, g)) for g in ours))


def called(hub: Hub, have: ActualGuest) -> str:
    """What a guest of this hub is called: as in hub.yml, else by its id, which was its name at first."""
    known = have.marker.guest if have.marker else have.name
    return next((g.name for g in hub.guests.values() if (g.vmid, g.id) == (have.vmid, known)), known)


def known_names(hub: Hub, actual: ActualGuests) -> set[str]:
    """What may be named for destruction: the guests of hub.yml, and those of this hub that Proxmox still has."""
    marked = [called(hub, g) for g in actual.guests.values() if g.belongs_to(hub.id)]
    return {*hub.guests, *marked}


def leftovers(hub: Hub, actual: ActualGuests) -> list[ActualGuest]:
    """Guests of this hub on numbers that hub.yml no longer has."""
    declared = {g.vmid for g in hub.guests.values()}
    return [g for v, g in sorted(actual.guests.items()) if v not in declared and g.belongs_to(hub.id)]


def _guest(
    draft: _Draft,
    hub: Hub,
    want: Wanted,
    have: ActualGuest | None,
    entry: Entry | None,
    allow_destroy: Collection[str],
) -> None:
    guest = want.guest
    if have is None:
        draft.changes += changes.new(want, f"new {_kind(guest.kind)} with VMID {guest.vmid}")
    elif have.marker == want.marker:
        _known(draft, hub, want, have, allow_destroy)
    elif have.bare and entry and entry.action in ("create", "delete"):
        draft.changes += changes.new(want, f"VMID {guest.vmid} was left half-made by a killed run")
    elif have.belongs_to(want.marker.hub) and have.marker and have.marker.guest in allow_destroy:
        why = f"hub.yml gives VMID {guest.vmid} to {guest.name}"
        draft.changes.append(changes.delete(have, why, have.marker.guest))
        draft.changes += changes.new(want, "new")
    else:
        _foreign(draft, want, have)


def _foreign(draft: _Draft, want: Wanted, have: ActualGuest) -> None:
    guest, marker = want.guest, have.marker
    if have.belongs_to(want.marker.hub) and marker:
        draft.refused.append(f"guest {guest.name}: VMID {guest.vmid} still holds this hub's guest {marker.guest}")
        draft.hints.append(
            f"if that is its new name: aihub rename {marker.guest} {guest.name}; "
            f"to remove {marker.guest} and its data: aihub up --allow-destroy {marker.guest}"
        )
        return
    draft.conflicts.append(f"guest {guest.name}: VMID {guest.vmid} belongs to {have.name}, which is not ours")
    draft.hints.append(f"give {guest.name} another vmid in hub.yml: {draft.free(guest.vmid)} is free")
    if have.name == guest.name and marker is None:
        draft.hints.append(f"if it is ours and its description was edited, put this line back: {want.marker}")


def _known(draft: _Draft, hub: Hub, want: Wanted, have: ActualGuest, allow_destroy: Collection[str]) -> None:
    name = want.guest.name
    found = deviation(want, have, lose=name in allow_destroy)
    draft.refused += [f"guest {name}: {why}" for why in found.refused]
    if have.node != want.guest.node:
        draft.refused.append(f"guest {name}: it is on node {have.node}, hub.yml says {want.guest.node}: migrate it")
        return
    if have.pool != pool(hub.name):
        draft.refused.append(f"guest {name}: it is not in pool {pool(hub.name)}, outside of which the token has no say")
        draft.hints.append(f"as root on {have.node}: pvesh set /pools/{pool(hub.name)} --vms {have.vmid}")
        return
    if found.rebuild:
        why = ", ".join(found.rebuild)
        draft.changes += [changes.delete(have, why, name), *changes.new(want, f"made anew: {why}")]
        return
    todo = changes.updates(have, name, found)
    if not have.running:
        todo.append(changes.start(want.guest, have))
    draft.changes += todo
    if have.lock and todo:
        draft.warnings.append(f"guest {name} is locked ({have.lock}): {unlock_hint(have)}")
    if unused := [f"{key} ({value})" for key, value in found.unused.items() if key not in found.volumes]:
        draft.warnings.append(
            f"guest {name}: attached to nothing, and kept: {', '.join(unused)}. To remove it: "
            f"aihub up --allow-destroy {name}"
        )


def _leftover(
    draft: _Draft, by_address: Mapping[str, Guest], have: ActualGuest, allow_destroy: Collection[str]
) -> None:
    marker = have.marker
    name = marker.guest if marker else have.name
    rival = next((by_address[a] for a in sorted(addresses(have.config or {})) if a in by_address), None)
    if name in allow_destroy:
        draft.changes.append(changes.delete(have, "hub.yml no longer has it", name))
    elif rival:
        draft.refused.append(
            f"guest {rival.name}: address {rival.address} is held by {name} (VMID {have.vmid}) of this hub"
        )
        draft.hints.append(f"to remove {name} and its data: aihub up --allow-destroy {name}")
    else:
        draft.warnings.append(
            f"guest {name} (VMID {have.vmid}) is no longer in hub.yml; it stays. To remove it and its data: "
            f"aihub up --allow-destroy {name}"
        )


def _namesakes(draft: _Draft, hub: Hub, actual: ActualGuests) -> None:
    """Two guests may share a name in Proxmox: worth a word, no obstacle."""
    for have in actual.guests.values():
        guest = hub.guests.get(have.name)
        if guest and guest.vmid != have.vmid and not have.belongs_to(hub.id):
            draft.warnings.append(f"guest {guest.name}: VMID {have.vmid} has the same name and is not ours")


def _raise(draft: _Draft) -> None:
    if not draft.conflicts and not draft.refused:
        return
    kind = Conflict if draft.conflicts else PreconditionFailed
    raise kind("\n".join(draft.conflicts + draft.refused), hint="; ".join(dict.fromkeys(draft.hints)) or "aihub plan")


def unlock_hint(have: ActualGuest) -> str:
    """What to do about a lock, which no token may clear."""
    tool = "pct" if have.kind == "lxc" else "qm"
    return f"wait for its task to end; if there is none, as root on {have.node}: {tool} unlock {have.vmid}"


def _kind(kind: str) -> str:
    return "container" if kind == "lxc" else "VM"
