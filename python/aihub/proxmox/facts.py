"""The facts that preflight needs, read only when something is to be done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aihub.errors import HubError
from aihub.model.resolved import Hub
from aihub.names import Marker, pool

from .errors import RefusedByProxmox
from .properties import addresses, macs
from .state import ActualGuest, Getter, many, seen


@dataclass(frozen=True)
class Storage:
    """A storage on one node."""

    id: str
    node: str
    content: frozenset[str]
    available: bool


@dataclass(frozen=True)
class Neighbour:
    """A guest that is not ours, with the addresses and MACs of its config."""

    vmid: int
    name: str
    macs: frozenset[str]
    addresses: frozenset[str]


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
    visible = {g.vmid: g for g in map(seen, (r for r in resources if r.get("type") in ("lxc", "qemu")))}
    storages = {(s.node, s.id): s for s in (_storage(r) for r in resources if r.get("type") == "storage")}
    unseen = [g.vmid for g in guests if g.vmid not in visible and not as_root]  # from root no guest is hidden
    others = [g for g in visible.values() if g.pool != pool(hub.name) and not g.template]
    return Facts(
        storages=storages,
        volumes=frozenset(_volumes(get, nodes, storages)),
        bridges={n: frozenset(str(b["iface"]) for b in get(f"/nodes/{n}/network", type="any_bridge")) for n in nodes},
        pools=frozenset(str(p["poolid"]) for p in get("/pools")),
        permissions=None if as_root else get("/access/permissions") or {},
        taken={v: why for v, why in zip(unseen, many(lambda v: _taken(get, v), unseen), strict=True) if why},
        neighbours=tuple(n for n in many(lambda g: _neighbour(get, hub.id, g), others) if n),
    )


def _storage(found: Mapping[str, Any]) -> Storage:
    content = frozenset(str(found.get("content", "")).split(","))
    return Storage(str(found["storage"]), str(found["node"]), content, found.get("status", "available") == "available")


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


def _neighbour(get: Getter, hub: str, guest: ActualGuest) -> Neighbour | None:
    """What a foreign guest holds of the network; None for our own, and for one that is just being removed."""
    try:
        config = {k: str(v) for k, v in get(f"{guest.path}/config").items()}
    except HubError as error:
        if isinstance(error, RefusedByProxmox) and error.status in (403, 500):
            return None
        raise
    marker = Marker.find(config.get("description", ""))
    if marker and (marker.hub, marker.vmid) == (hub, guest.vmid):
        return None
    return Neighbour(guest.vmid, guest.name, macs(config), addresses(config))
