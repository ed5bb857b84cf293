"""What must be true before the first guest is touched: what PVE accepts now and fails on later; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from aihub.errors import Conflict, PreconditionFailed
from aihub.model.resolved import Guest, Hub
from aihub.model.types import format_size
from aihub.names import pool
from aihub.plan import Change
from aihub.proxmox.facts import Facts

from . import owned
from .desired import source_of

GUEST_PRIVILEGES = (
    "VM.Allocate", "VM.Audit", "VM.PowerMgmt",
    "VM.Config.CPU", "VM.Config.Disk", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options",
)  # fmt: skip
VM_PRIVILEGES = ("VM.Config.Cloudinit", "VM.Config.HWType", "VM.Config.CDROM")
READ_VOLUME = ("Datastore.Audit", "Datastore.AllocateSpace")


@dataclass(frozen=True)
class Coming:
    """What will be made before the guests' turn, by a part of the plan that was agreed to, and is no obstacle now."""

    bridges: Collection[str] = ()
    storages: Collection[str] = ()
    pool: bool = False
    rights: bool = False  # the token's own: what it may see is then not known either
    images: bool = False
    cards: Mapping[str, str] = field(default_factory=dict)  # where the hub's cards are, by name


def check(hub: Hub, changes: Iterable[Change], facts: Facts, coming: Coming | None = None) -> None:
    """Raises Conflict or PreconditionFailed with everything that stands in the way of the changes."""
    coming = coming or Coming()
    changes = [c for c in changes if c.owner == "guests" and c.subject in hub.guests]
    created = {c.subject for c in changes if c.action == "create"}
    touched = dict.fromkeys(c.subject for c in changes if c.action in ("create", "update", "start"))
    guests = [hub.guests[name] for name in touched]
    new = [g for g in guests if g.name in created]
    moved = {c.subject for c in changes if any(d.field == "net0.bridge" for d in c.differences)} - created
    conflicts = list(_conflicts(guests, new, facts))
    missing = [*_missing(hub, guests, new, facts, coming), *_too_big(guests, facts)]
    taken = list(_taken_cards(guests, facts, coming.cards))
    if facts.permissions is not None and not coming.rights:
        missing += _privileges(hub, guests, new, facts)
    lost = list(_unreachable([hub.guests[name] for name in sorted(moved)], facts))
    text = "\n".join(dict.fromkeys([*conflicts, *missing, *lost, *(what for what, _ in taken)]))
    if conflicts:
        raise Conflict(text, hint="give the guest another vmid or address in hub.yml, or free this one")
    if lost:
        raise PreconditionFailed(
            text, hint="first an `aihub up` with the new zone alone, then one with the guest in it"
        )
    if taken and not missing:
        raise PreconditionFailed(text, hint="; ".join(dict.fromkeys(hint for _, hint in taken)))
    if missing:
        raise PreconditionFailed(text, hint="aihub plan shows what the node lacks; `aihub up` makes what is its own")


def _conflicts(guests: list[Guest], new: list[Guest], facts: Facts) -> Iterator[str]:
    for guest in new:
        if why := facts.taken.get(guest.vmid):
            yield f"guest {guest.name}: VMID {guest.vmid} is taken by a guest, hidden from the token ({why})"
    for guest in guests:
        for other in facts.neighbours:
            if other.vmid == guest.vmid:
                continue
            who = f"{other.name} (VMID {other.vmid}), which is not ours"
            if str(guest.address) in other.addresses:
                yield f"guest {guest.name}: address {guest.address} is used by {who}"
            if guest.mac.upper() in other.macs:
                yield f"guest {guest.name}: MAC {guest.mac} is used by {who}"


def _unreachable(guests: list[Guest], facts: Facts) -> Iterator[str]:
    """Who comes into a zone is reached from there, once its firewall knows the zone: that of a new one it does not."""
    for guest in guests:
        if guest.bridge not in facts.bridges.get(guest.node, frozenset()):
            yield f"guest {guest.name}: its firewall does not know zone {guest.zone} yet, and would lock us out there"


def _taken_cards(guests: list[Guest], facts: Facts, cards: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Who runs with a card that one of our guests is to start with: Proxmox would refuse the start."""
    for guest in guests:
        for other in facts.neighbours if guest.gpu else ():
            slot = cards.get(guest.gpu or "", "").partition(".")[0]
            if other.vmid != guest.vmid and (
                guest.gpu in owned.mappings(other.config) or (slot and slot in owned.slots(other.config))
            ):
                text = f"guest {guest.name}: card {guest.gpu} is in use by {other.name} (VMID {other.vmid}), which runs"
                keys = [key for key in other.config if key.startswith("hostpci")]
                give = f"qm shutdown {other.vmid}, then qm set {other.vmid} --delete {','.join(keys)}"
                yield f"{text} and is not ours", f"as root on {guest.node}: {give}; or give {guest.name} another card"


def _too_big(guests: list[Guest], facts: Facts) -> Iterator[str]:
    """More than there is, Proxmox takes into the config; the guest does not start then, or not as big."""
    for guest in guests:
        room, storage = facts.rooms.get(guest.node), facts.storages.get((guest.node, guest.storage))
        if room and guest.cores > room.cores:
            yield f"guest {guest.name}: hub.yml says {guest.cores} cores, node {guest.node} has {room.cores}"
        if room and guest.memory > room.memory:
            has = format_size(room.memory)
            yield f"guest {guest.name}: hub.yml says {format_size(guest.memory)} of memory, node {guest.node} has {has}"
        if storage and storage.size and guest.disk > storage.size:
            has = format_size(storage.size)
            wanted = f"a disk of {format_size(guest.disk)}"
            yield f"guest {guest.name}: hub.yml says {wanted}, storage {storage.id} has {has}"


def _missing(hub: Hub, guests: list[Guest], new: list[Guest], facts: Facts, coming: Coming) -> Iterator[str]:
    # What a token without its rights does not see may be there all the same.
    hidden = coming.rights and facts.permissions is not None
    for guest in guests:
        yield from _storage(guest, facts, hidden or guest.storage in coming.storages)
        present = hidden or guest.bridge in facts.bridges.get(guest.node, frozenset())
        if not present and guest.bridge not in coming.bridges:
            yield f"node {guest.node}: bridge {guest.bridge} of zone {guest.zone} is not there"
    for guest in new:
        image = source_of(guest)
        if not (hidden or coming.images or f"{guest.node}:{image.volume}" in facts.volumes):
            fetch = image.fetch(guest.node)
            yield f"node {guest.node}: OS image {image.volume} is not there; as root on it: {fetch}"
    if new and not (hidden or coming.pool or pool(hub.name) in facts.pools):
        yield f"pool {pool(hub.name)} is not there, or the token may not see it"


def _storage(guest: Guest, facts: Facts, hidden: bool) -> Iterator[str]:
    storage = facts.storages.get((guest.node, guest.storage))
    content = "rootdir" if guest.kind == "lxc" else "images"
    if storage is None:
        if not hidden:
            yield f"node {guest.node}: storage {guest.storage} is not there, or the token may not see it"
    elif not storage.available:
        yield f"node {guest.node}: storage {guest.storage} is not active: as root on it, `pvesm status` says why"
    elif content not in storage.content:
        yield f"node {guest.node}: storage {guest.storage} takes no {content}"


def _privileges(hub: Hub, guests: list[Guest], new: list[Guest], facts: Facts) -> Iterator[str]:
    for guest in guests:
        here = (f"/vms/{guest.vmid}", f"/pool/{pool(hub.name)}")
        for privilege in GUEST_PRIVILEGES + (VM_PRIVILEGES if guest.kind == "vm" else ()):
            if not any(facts.allows(path, privilege) for path in here):
                yield f"the token lacks {privilege} on {here[1]}"
        bridge = f"/sdn/zones/localnetwork/{guest.bridge}" + (f"/{guest.vlan}" if guest.vlan else "")
        if not facts.allows(bridge, "SDN.Use"):
            yield f"the token lacks SDN.Use on {bridge}"
        if guest.gpu and guest.kind == "vm" and not facts.allows(f"/mapping/pci/{guest.gpu}", "Mapping.Use"):
            yield f"the token lacks Mapping.Use on /mapping/pci/{guest.gpu}"
        if not facts.allows(f"/storage/{guest.storage}", "Datastore.AllocateSpace"):
            yield f"the token lacks Datastore.AllocateSpace on /storage/{guest.storage}"
    if new and not any(facts.allows("/storage/local", p) for p in READ_VOLUME):
        yield "the token lacks Datastore.Audit on /storage/local, where the OS images are"
