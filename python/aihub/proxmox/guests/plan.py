"""The plan for Proxmox objects: which guests to create, update, start or remove; pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from aihub.model.catalogue import USUAL
from aihub.model.resolved import Hub
from aihub.names import pool
from aihub.plan import Plan
from aihub.proxmox.properties import addresses, macs
from aihub.proxmox.state import UNKNOWN, ActualGuest, ActualGuests
from aihub.state.journal import Entry

from . import changes, desired
from .compare import deviation, disk_of
from .desired import Wanted
from .draft import Draft, clear_hint, move_hint, protection_hint


def plan(
    hub: Hub,
    actual: ActualGuests,
    keys: Sequence[str] = (),
    *,
    journal: Mapping[int, Entry] | None = None,
    allow_destroy: Collection[str] = frozenset(),
    busy: Collection[int] = frozenset(),
) -> Plan:
    """What `up` would do to Proxmox objects; what goes comes first, since its address may be somebody's.

    `journal` holds the entries of an unfinished run, `busy` the VMIDs on which its tasks are still at work. Raises
    Conflict for foreign guests on our numbers, and PreconditionFailed for what Proxmox cannot do; each with every case
    found.
    """
    draft = Draft(frozenset(actual.guests) | {g.vmid for g in hub.guests.values()}, busy)
    for have in leftovers(hub, actual):
        _leftover(draft, hub, have, allow_destroy)
    for guest in hub.guests.values():
        entry = (journal or {}).get(guest.vmid)
        want, found = desired.wanted(hub, guest, keys), actual.guests.get(guest.vmid)
        if guest.vmid in actual.unread:
            draft.refused.append(
                f"guest {guest.name}: whose VMID {guest.vmid} is, nobody can say: {actual.unread[guest.vmid]}"
            )
        else:
            _guest(draft, hub, want, found, entry, allow_destroy)
    _namesakes(draft, hub, actual)
    _copies(draft, hub, actual)
    for vmid in sorted(actual.unread.keys() - {g.vmid for g in hub.guests.values()}):
        draft.warnings.append(f"{actual.guests[vmid].name} (VMID {vmid}) could not be looked at: {actual.unread[vmid]}")
    draft.refuse()
    return Plan(changes=tuple(draft.changes), warnings=tuple(draft.warnings))


def down_plan(hub: Hub, actual: ActualGuests) -> Plan:
    """The removal of every guest that carries this hub's marker, and of nothing else.

    Raises PreconditionFailed when Proxmox would refuse one of them, before any other went.
    """
    ours = [g for g in actual.guests.values() if g.belongs_to(hub.id)]
    ours.sort(key=lambda guest: guest.vmid)
    draft = Draft()
    for have in ours:
        draft.require_removable(have, called(hub, have))
    draft.refuse()
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
    draft: Draft,
    hub: Hub,
    want: Wanted,
    have: ActualGuest | None,
    entry: Entry | None,
    allow_destroy: Collection[str],
) -> None:
    guest = want.guest
    if have is None:
        draft.changes += changes.new(want, f"new {_kind(guest.kind)} with VMID {guest.vmid}")
    elif entry and guest.vmid in draft.busy and (have.marker == want.marker or have.bare):
        draft.changes += changes.new(want, f"an earlier run's task is still at work on VMID {guest.vmid}")
    elif have.marker == want.marker:
        _known(draft, hub, want, have, allow_destroy)
    elif have.bare and entry and entry.action in ("create", "delete"):
        if have.lock:
            draft.refused.append(f"guest {guest.name}: a {have.lock} that died left VMID {guest.vmid} locked")
            draft.hints.append(clear_hint(have))
        draft.changes += changes.new(want, f"VMID {guest.vmid} was left half-made by a killed run")
    elif have.belongs_to(want.marker.hub) and have.marker and have.marker.guest in allow_destroy:
        why = f"hub.yml gives VMID {guest.vmid} to {guest.name}"
        draft.require_removable(have, have.marker.guest)
        draft.changes.append(changes.delete(have, why, have.marker.guest))
        draft.changes += changes.new(want, "new")
    else:
        _foreign(draft, want, have)


def _foreign(draft: Draft, want: Wanted, have: ActualGuest) -> None:
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
    if have.name == guest.name and (marker is None or marker.hub == want.marker.hub):
        draft.hints.append(f"if it is ours and its description was edited, put this line back: {want.marker}")


def _known(draft: Draft, hub: Hub, want: Wanted, have: ActualGuest, allow_destroy: Collection[str]) -> None:
    name = want.guest.name
    # What sleeps is resumed first: what it will take then only at a restart is planned as one.
    found = deviation(want, replace(have, status="running") if have.asleep else have, lose=name in allow_destroy)
    draft.refused += [f"guest {name}: {why}" for why in found.refused]
    if have.node != want.guest.node:
        draft.refused.append(f"guest {name}: it is on node {have.node}, hub.yml says {want.guest.node}: migrate it")
        return
    if have.status == UNKNOWN:
        draft.refused.append(f"guest {name}: Proxmox cannot say whether it runs")
        draft.hints.append(f"as root on {have.node}: pvesh get {have.path}/status/current")
        return
    if found.rebuild:
        why = ", ".join(found.rebuild)
        draft.require_removable(have, name)
        draft.changes += [changes.delete(have, why, name), *changes.new(want, f"made anew: {why}")]
        if disk_of(have)[0] != want.guest.storage and len(found.rebuild) == 1:
            draft.warnings.append(f"guest {name}: {move_hint(have, want.disk, want.guest.storage)}")
        return
    _system(draft, hub, want, have)
    todo = [changes.join(want.guest, have, pool(hub.name))] if have.pool != pool(hub.name) else []
    if have.asleep:
        todo.append(changes.start(want.guest, have))
    todo += changes.updates(have, name, found)
    if not have.alive and not have.asleep:
        todo.append(changes.start(want.guest, have))
    draft.changes += todo
    if todo:
        draft.require_unlocked(have, name)
    if have.protected and (kept := ", ".join(found.volumes)):
        draft.refused.append(f"guest {name}: it is protected, and Proxmox takes no disk ({kept}) of such a guest")
        draft.hints.append(protection_hint(have))
    if unused := [f"{key} ({value})" for key, value in found.unused.items() if key not in found.volumes]:
        draft.warnings.append(
            f"guest {name}: attached to nothing, and kept: {', '.join(unused)}. To remove it: "
            f"aihub up --allow-destroy {name}"
        )


def _system(draft: Draft, hub: Hub, want: Wanted, have: ActualGuest) -> None:
    """What a guest was made from, it stays: worth a word where hub.yml says another."""
    guest, image = want.guest, have.image or USUAL  # the one that all were made from, before that was written down
    if image == guest.image:
        return
    known = "it was made from" if have.image else "its description names no image, so that it counts as made from"
    said = "hub.yml says" if hub.file.guests[guest.name].image else "like this it would be made from"
    anew = f"take it out, aihub up --allow-destroy {guest.name}, and put it back"
    draft.warnings.append(
        f"guest {guest.name}: {known} {image}, and stays so; {said} {guest.image}. `image: {image}` in hub.yml says "
        f"what it is; to make it anew, without its data: {anew}"
    )


def _leftover(draft: Draft, hub: Hub, have: ActualGuest, allow_destroy: Collection[str]) -> None:
    name = have.marker.guest if have.marker else have.name
    taken = {str(guest.address): guest for guest in hub.guests.values()}
    rival = next((taken[a] for a in sorted(addresses(have.config or {})) if a in taken), None)
    renumbered = next((guest for guest in hub.guests.values() if guest.id == name), None)
    if name in allow_destroy:
        draft.require_removable(have, name)
        draft.changes.append(changes.delete(have, "hub.yml no longer has it", name))
    elif renumbered:
        draft.refused.append(
            f"guest {renumbered.name}: it has VMID {have.vmid}, hub.yml says {renumbered.vmid}: "
            "Proxmox gives no guest another number"
        )
        draft.hints.append(
            f"put `vmid: {have.vmid}` back; to begin anew, without its data: aihub up --allow-destroy {name}"
        )
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


def _namesakes(draft: Draft, hub: Hub, actual: ActualGuests) -> None:
    """Two guests may share a name in Proxmox: worth a word, no obstacle."""
    for have in actual.guests.values():
        guest = hub.guests.get(have.name)
        if guest and guest.vmid != have.vmid and not have.belongs_to(hub.id):
            draft.warnings.append(f"guest {guest.name}: VMID {have.vmid} has the same name and is not ours")


def _copies(draft: Draft, hub: Hub, actual: ActualGuests) -> None:
    """A copy that runs has the addresses of its original, and one of them loses its packets."""
    others = [g for g in actual.guests.values() if g.alive and g.config and not g.belongs_to(hub.id)]
    for have, guest in itertools.product(others, hub.guests.values()):
        held = {str(guest.address), guest.mac.upper()} & (addresses(have.config or {}) | macs(have.config or {}))
        if held and guest.vmid != have.vmid:
            what = f"{have.name} (VMID {have.vmid}), which is not ours, runs with its {' and '.join(sorted(held))}"
            draft.conflicts.append(f"guest {guest.name}: {what}")
            draft.hints.append(f"stop VMID {have.vmid}, or give it addresses of its own")


def _kind(kind: str) -> str:
    return "container" if kind == "lxc" else "VM"
