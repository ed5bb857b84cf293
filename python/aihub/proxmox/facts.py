"""The facts that preflight needs, read only when something is to be done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aihub.errors import PreconditionFailed
from aihub.model.resolved import Hub
from aihub.names import Marker

from .errors import Lost, RefusedByProxmox
from .properties import addresses, macs
from .state import OFFLINE, ActualGuest, Getter, many, seen, up_to_date


@dataclass(frozen=True)
class Storage:
    """A storage on one node."""

    id: str
    node: str
    content: frozenset[str]
    available: bool
    size: int = 0  # bytes; 0: not told


@dataclass(frozen=True)
class Room:
    """What a node has for its guests."""

    cores: int
    memory: int  # bytes


@dataclass(frozen=True)
class Neighbour:
    """A guest that runs and is not ours, with its config, and the addresses and MACs in that."""

    vmid: int
    name: str
    macs: frozenset[str]
    addresses: frozenset[str]
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What must be there before guests are made: read only when something is to be done."""

    storages: Mapping[tuple[str, str], Storage]
    volumes: frozenset[str]
    bridges: Mapping[str, frozenset[str]]
    pools: frozenset[str]
    permissions: Mapping[str, Mapping[str, int]] | None  # None: read as root, who cannot tell what the token may
    taken: Mapping[int, str]  # wanted VMIDs that are in use although we cannot see the guest
    neighbours: tuple[Neighbour, ...]
    rooms: Mapping[str, Room] = field(default_factory=dict)  # by node; one that we may not ask has none

    def allows(self, path: str, privilege: str) -> bool:
        """Whether the token is known to have a privilege on an ACL path, inherited ones included."""
        permissions, place = self.permissions or {}, path
        while True:
            if place in permissions:
                granted = permissions[place].get(privilege)
                return granted is not None and (place == path or bool(granted))
            if place == "/":
                return False
            place = place.rpartition("/")[0] or "/"


def read_facts(get: Getter, hub: Hub, vmids: frozenset[int] | None = None, *, as_root: bool = False) -> Facts:
    """The facts for making or changing the guests `vmids` (default: every declared one)."""
    guests = [g for g in hub.guests.values() if vmids is None or g.vmid in vmids]
    nodes = sorted({g.node for g in guests})
    resources = get("/cluster/resources")
    off = _offline(resources, nodes)
    visible = {g.vmid: g for g in map(seen, (r for r in resources if r.get("type") in ("lxc", "qemu")))}
    used = {(g.node, g.storage) for g in guests} | {(node, "local") for node in nodes}
    listed = [_storage(r) for r in resources if r.get("type") == "storage"]
    storages = {(s.node, s.id): _asked(get, s) if (s.node, s.id) in used else s for s in listed}
    unseen = [g.vmid for g in guests if g.vmid not in visible and not as_root]  # from root no guest is hidden
    declared = {g.vmid for g in hub.guests.values()}
    others = [g for g in visible.values() if g.vmid not in declared and g.node not in off and not g.template]
    near = up_to_date(get, [g for g in others if g.node in nodes]) + [g for g in others if g.node not in nodes]
    return Facts(
        storages=storages,
        volumes=frozenset(_volumes(get, nodes, storages)),
        bridges={n: frozenset(str(b["iface"]) for b in get(f"/nodes/{n}/network", type="any_bridge")) for n in nodes},
        pools=frozenset(str(p["poolid"]) for p in get("/pools")),
        permissions=None if as_root else get("/access/permissions") or {},
        taken={v: why for v, why in zip(unseen, many(lambda v: _taken(get, v), unseen), strict=True) if why},
        neighbours=tuple(n for n in many(lambda g: _neighbour(get, hub.id, g, nodes), near) if n),
        rooms={node: room for node in nodes if (room := _room(get, node))},
    )


def _offline(resources: Iterable[Mapping[str, Any]], wanted: Iterable[str]) -> frozenset[str]:
    """The nodes that do not answer. Raises PreconditionFailed when one of hub.yml is among them, or is not there."""
    states = {str(r["node"]): str(r.get("status", "")) for r in resources if r.get("type") == "node"}
    if lost := [node for node in wanted if node not in states]:
        text = f"Proxmox has no node {', '.join(lost)}: it knows {', '.join(sorted(states))}"
        raise PreconditionFailed(text, hint="call it so under `nodes:` in hub.yml")
    off = frozenset(node for node, state in states.items() if state == OFFLINE)
    if silent := [node for node in wanted if node in off]:
        text = f"node {', '.join(silent)} is offline, says the cluster"
        raise PreconditionFailed(text, hint="as root on it: systemctl status pve-cluster corosync")
    return off


def _storage(found: Mapping[str, Any]) -> Storage:
    content = frozenset(str(found.get("content", "")).split(","))
    available = found.get("status", "available") == "available"
    return Storage(str(found["storage"]), str(found["node"]), content, available, int(found.get("maxdisk") or 0))


def _asked(get: Getter, storage: Storage) -> Storage:
    """A storage that the cluster's list does not call available, by its node's word: after a boot it knows nothing."""
    if storage.available:
        return storage
    try:
        said = get(f"/nodes/{storage.node}/storage/{storage.id}/status")
    except RefusedByProxmox:
        return storage
    return replace(storage, available=bool(int(said.get("active") or 0)), size=int(said.get("total") or 0))


def _room(get: Getter, node: str) -> Room | None:
    try:
        said = get(f"/nodes/{node}/status")
    except RefusedByProxmox:
        return None
    return Room(int(said["cpuinfo"]["cpus"]), int(said["memory"]["total"]))


def _volumes(get: Getter, nodes: Iterable[str], storages: Mapping[tuple[str, str], Storage]) -> Iterable[str]:
    """Templates and images on the storage `local` of each node: NODE:VOLID."""
    for node in nodes:
        local = storages.get((node, "local"))
        for content in ("vztmpl", "import"):
            if local and local.available and content in local.content:
                for volume in get(f"/nodes/{node}/storage/local/content", content=content):
                    yield f"{node}:{volume['volid']}"


def _taken(get: Getter, vmid: int) -> str:
    """Why a VMID is not free, for guests that the token cannot see; empty when it is free."""
    try:
        get("/cluster/nextid", vmid=vmid)
    except RefusedByProxmox as error:
        if error.status != 400:
            raise
        return error.fields.get("vmid", error.what)
    return ""


def _neighbour(get: Getter, hub: str, guest: ActualGuest, nodes: Iterable[str]) -> Neighbour | None:
    """What a foreign guest holds of the network; None for our own, for one that is off or is just being removed."""
    if guest.status == "stopped":
        return None
    try:
        config = {k: str(v) for k, v in get(f"{guest.path}/config").items()}
    except (Lost, RefusedByProxmox) as error:
        if guest.node not in nodes or (isinstance(error, RefusedByProxmox) and error.status in (403, 500)):
            return None
        raise
    marker = Marker.find(config.get("description", ""))
    if marker and (marker.hub, marker.vmid) == (hub, guest.vmid):
        return None
    return Neighbour(guest.vmid, guest.name, macs(config), addresses(config), config)
