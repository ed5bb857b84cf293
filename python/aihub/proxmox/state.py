"""What is there, read in few calls: guests, with the configs of those that matter to the hub.

Everything is read through a `get(path, **params)`, so that the same code works over HTTPS with a token and
over `pvesh` on the node before there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from aihub.model.resolved import Hub
from aihub.names import TAG, Marker, image_of, pool

from .errors import Lost, RefusedByProxmox

Getter = Callable[..., Any]
T = TypeVar("T")
R = TypeVar("R")
READERS = 4  # a Proxmox server answers with three workers: more connections only cost handshakes
FEW = 4
OFFLINE = "offline"  # a node; one of which nothing was told yet, as after its boot, is `unknown`
UNKNOWN = "unknown"
# What a VM's monitor says of one that has its memory and does not run; the last stands still since a disk is full.
PAUSED = frozenset({"paused", "suspended", "prelaunch", "io-error"})
# Keys of /pending that describe the answer or the lock rather than the guest.
NOT_CONFIG = frozenset({"digest", "lock"})


@dataclass(frozen=True)
class ActualGuest:
    """A guest as Proxmox has it.

    `config` holds what applies after a restart, `current` the present value of what will be different then. `status` is
    running, stopped, paused, or unknown where nobody can say.
    """

    vmid: int
    kind: Literal["lxc", "vm"]
    node: str
    name: str
    status: str
    template: bool = False
    pool: str = ""
    tags: str = ""
    config: Mapping[str, str] | None = None  # None: not read
    current: Mapping[str, str | None] = field(default_factory=dict)  # by key that waits for a restart
    digest: str = ""
    lock: str = ""

    @property
    def in_force(self) -> dict[str, str]:
        """The config without what waits for a restart."""
        present = {key: value for key, value in self.current.items() if value is not None}
        return {key: v for key, v in (self.config or {}).items() if key not in self.current} | present

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def alive(self) -> bool:
        """Whether it has processes: it runs, or is paused."""
        return self.status in ("running", "paused")

    @property
    def hibernated(self) -> bool:
        """Whether its memory lies on a disk, from which it goes on: its lock is no task's."""
        return self.kind == "vm" and self.lock == "suspended"

    @property
    def asleep(self) -> bool:
        """Whether it goes on where it was, once it is resumed."""
        return self.hibernated or self.status == "paused"

    @property
    def held(self) -> str:
        """The lock that keeps everybody from changing it; empty when there is none."""
        return "" if self.hibernated else self.lock

    @property
    def protected(self) -> bool:
        """Whether Proxmox lets nobody remove it or a disk of it."""
        return (self.config or {}).get("protection", "0") == "1"

    @property
    def path(self) -> str:
        """Its place in the API."""
        return guest_path(self.node, self.kind, self.vmid)

    @property
    def marker(self) -> Marker | None:
        return Marker.find((self.config or {}).get("description", ""))

    @property
    def image(self) -> str:
        """The OS image that it was made from, as its description says; empty where that says nothing."""
        return image_of((self.config or {}).get("description", ""))

    @property
    def bare(self) -> bool:
        """Nothing but a lock: what a create leaves when the power went in the middle of it."""
        return self.config is not None and not self.config

    def belongs_to(self, hub: str) -> bool:
        """Whether it carries the marker of this hub for this very VMID."""
        return self.marker is not None and (self.marker.hub, self.marker.vmid) == (hub, self.vmid)


@dataclass(frozen=True)
class ActualGuests:
    """Every guest that the token sees, by VMID; only those that matter to the hub have their config read.

    `unread` says why that of one that may matter could not be.
    """

    guests: Mapping[int, ActualGuest]
    unread: Mapping[int, str] = field(default_factory=dict)


def guest_path(node: str, kind: str, vmid: int) -> str:
    """The place of a guest in the API."""
    return f"/nodes/{node}/{'lxc' if kind == 'lxc' else 'qemu'}/{vmid}"


def read(get: Getter, hub: Hub) -> ActualGuests:
    """Every visible guest, with the config of those that are ours by sign or stand on our numbers.

    Of a guest that only looks like ours, an answer that does not come is a word and no error.
    """
    found = [seen(r) for r in get("/cluster/resources", type="vm")]
    declared = {g.vmid for g in hub.guests.values()}
    ours = pool(hub.name)
    near = [g for g in found if g.vmid in declared or g.pool == ours or TAG in re.split(r"[;, ]+", g.tags)]
    unread = _unreachable(get, near, {g.node for g in hub.guests.values()})
    near = [g for g in near if g.vmid not in unread]
    near = [*up_to_date(get, [g for g in near if g.kind == "lxc"]), *(g for g in near if g.kind == "vm")]

    def look(guest: ActualGuest) -> ActualGuest | str | None:
        try:
            full = read_guest(get, guest)
            return with_state(get, full) if full and full.kind == "vm" else full
        except (RefusedByProxmox, Lost) as error:
            if guest.vmid in declared or guest.pool == ours:
                raise
            return error.what

    looked = {g.vmid: one for g, one in zip(near, many(look, near), strict=True)}
    unread |= {vmid: one for vmid, one in looked.items() if isinstance(one, str)}
    guests = {g.vmid: looked.get(g.vmid, g) for g in found}
    kept = {vmid: one for vmid, one in guests.items() if isinstance(one, ActualGuest)}
    silent = {g.vmid: replace(g, status=UNKNOWN) for g in found if g.vmid in unread}
    return ActualGuests({**kept, **silent}, unread)


def _unreachable(get: Getter, guests: list[ActualGuest], nodes: set[str]) -> dict[int, str]:
    """The guests on other nodes of the cluster that are off: nobody can be asked about them."""
    if not {g.node for g in guests} - nodes:
        return {}
    off = {str(n["node"]) for n in get("/cluster/resources", type="node") if n.get("status") == OFFLINE}
    return {g.vmid: f"its node {g.node} is offline" for g in guests if g.node in off}


def up_to_date(get: Getter, guests: list[ActualGuest]) -> list[ActualGuest]:
    """The guests with their nodes' word on whether they run: the cluster's list is up to ten seconds behind."""
    places = sorted({(g.node, "lxc" if g.kind == "lxc" else "qemu") for g in guests})
    told = many(lambda place: get(f"/nodes/{place[0]}/{place[1]}"), places)
    status = {int(one["vmid"]): str(one["status"]) for answer in told for one in answer}
    return [replace(g, status=status.get(g.vmid, g.status)) for g in guests]


def with_state(get: Getter, guest: ActualGuest) -> ActualGuest | None:
    """The guest with what it does at this moment; None when it is gone."""
    if guest.bare:
        return guest
    try:
        said = get(f"{guest.path}/status/current")
    except RefusedByProxmox as error:
        if no_such_guest(error):  # it went between two reads, as when a lost answer's change is being done
            return None
        raise
    status = str(said["status"])
    return replace(guest, status="paused" if status == "running" and said.get("qmpstatus") in PAUSED else status)


def read_guest(get: Getter, guest: ActualGuest) -> ActualGuest | None:
    """The guest with its config as it is now; None when it is gone."""
    try:
        pending = get(f"{guest.path}/pending")
    except RefusedByProxmox as error:
        if no_such_guest(error):
            return None
        raise
    config: dict[str, str] = {}
    current: dict[str, str | None] = {}
    other: dict[str, str] = {}
    for item in pending:
        key, value = str(item["key"]), item.get("value")
        if key in NOT_CONFIG:
            other[key] = str(value)
            continue
        new = None if item.get("delete") else item.get("pending", value)
        if new is not None:
            config[key] = str(new)
        if "pending" in item or item.get("delete"):
            current[key] = None if value is None else str(value)
    return replace(
        guest,
        name=config.get("hostname") or config.get("name") or guest.name,
        template=config.get("template", "0") == "1",
        tags=config.get("tags", ""),
        config=config,
        current=current,
        digest=other.get("digest", ""),
        lock=other.get("lock", ""),
    )


def no_such_guest(error: RefusedByProxmox) -> bool:
    """Whether the API says that the guest that was asked about is not there."""
    return error.status == 500 and "does not exist" in error.what


def seen(found: Mapping[str, Any]) -> ActualGuest:
    """A guest as the list of resources has it."""
    return ActualGuest(
        vmid=int(found["vmid"]),
        kind="lxc" if found["type"] == "lxc" else "vm",
        node=str(found["node"]),
        name=str(found.get("name") or f"VMID {found['vmid']}"),
        status=str(found.get("status", UNKNOWN)),
        template=bool(int(found.get("template") or 0)),
        pool=str(found.get("pool") or ""),
        tags=str(found.get("tags") or ""),
        lock=str(found.get("lock") or ""),
    )


def many(look: Callable[[T], R], items: list[T]) -> list[R]:
    """`look` over all items, with a few connections when it is worth their handshakes."""
    if len(items) <= FEW:
        return [look(i) for i in items]
    pool = ThreadPoolExecutor(READERS)
    try:
        return list(pool.map(look, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # neither an error nor Ctrl-C waits for the other reads
