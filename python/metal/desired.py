"""What a node should be like for a hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from aihub import names as derived

GROUPS = "0x4000"
"""The mask by which a bridge takes frames for group 01:80:c2:00:00:0e as any other, so that they pass its filters."""


@dataclass(frozen=True)
class Zone:
    """A zone: a bridge without ports that holds the gateway's address."""

    name: str
    bridge: str
    subnet: str
    gateway: str
    internet: bool

    @property
    def cidr(self) -> str:
        """The gateway's address with the subnet's prefix length."""
        return f"{self.gateway}/{ip_network(self.subnet).prefixlen}"


@dataclass(frozen=True)
class Flow:
    """Traffic that may pass from one zone into another: a CIDR to an address and port."""

    source: str
    destination: str
    port: int
    protocol: str
    why: str


@dataclass(frozen=True)
class Port:
    """Where a guest is plugged in, and the hardware and IPv4 address that it alone has there."""

    guest: str
    zone: str
    vmid: int
    kind: str  # lxc or vm
    mac: str
    address: str

    @property
    def own(self) -> str:
        """What Proxmox calls the guest's end: a port of the zone's bridge, or of a firewall bridge before that."""
        return f"{'veth' if self.kind == 'lxc' else 'tap'}{self.vmid}i0"

    @property
    def behind_firewall(self) -> str:
        """The port of the zone's bridge instead, where Proxmox's own firewall filters the guest's card."""
        return f"fwpr{self.vmid}p0"

    @property
    def firewall(self) -> str:
        """The bridge of that firewall."""
        return f"fwbr{self.vmid}i0"

    @property
    def before_firewall(self) -> str:
        """The firewall bridge's other port, where all that is for the guest comes in."""
        return f"fwln{self.vmid}i0"


@dataclass(frozen=True)
class Record:
    """A guest's name, without the domain, and its address."""

    name: str
    address: str


@dataclass(frozen=True)
class Card:
    """A card that a guest gets: what its mapping is called, and what it is known by, wherever it is plugged in."""

    name: str
    id: str  # VENDOR:DEVICE
    subsystem: str = ""  # VENDOR:DEVICE of who made the board; empty: any
    shared: bool = False  # among containers, by the node's own driver; else it is one VM's alone


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver for the node itself: its packages, of one branch, from a source that is trusted for one key.

    Without a key the source is trusted as it is: a lab's, whose packages stand in. `headers` are packages that its
    module is built with, beside those of the running kernel; empty where the node has no kernel of its own.
    """

    url: str
    key: str
    fingerprint: str
    branch: str
    packages: tuple[str, ...]
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mirror:
    """A storage that is made where it is not there: a ZFS pool of its name, of disks as /dev/disk/by-id names them.

    With `stand_in` no disk is touched: what that says stands in for the pool, and Proxmox has the storage alone.
    """

    storage: str
    disks: tuple[str, ...]
    stand_in: str = ""


@dataclass(frozen=True)
class VaultServer:
    """The hub's Vault, which the node unseals: where it answers, the name it proves, and the root it is proven by."""

    address: str
    port: int
    name: str
    authority: str  # PEM


@dataclass(frozen=True)
class Desired:
    """The node of one hub.

    `lan` are flows out of zones into the LAN, `outside` addresses that count as internet although they are not
    public: only a lab has some. `names` are outside names that the node answers itself (the lab's registry).
    `storages` hold guests, `images` holds templates; `mirrors` are those that are made. `cards` are those that guests
    get, with `driver` where containers share one; `held` names mappings that guests are configured with at this
    moment, `sharing` says that one has the device nodes of the driver; `memory` is what all guests have, in bytes;
    `packages` says where Proxmox's own come from (empty: as it is). `kept` tells which value of the token the
    controller holds; empty: none. With `removed` all of ours goes. `leaving` are the VMIDs of guests that will have
    left a bridge that goes; `staying` are bridges of zones that are gone that guests of ours are configured with.
    """

    hub: str
    hub_id: str
    node: str
    domain: str
    zones: tuple[Zone, ...]
    flows: tuple[Flow, ...]
    ports: tuple[Port, ...]
    records: tuple[Record, ...]
    names: tuple[tuple[str, str], ...]
    storages: tuple[str, ...]
    images: str
    lan: tuple[Flow, ...] = ()
    outside: tuple[str, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    cards: tuple[Card, ...] = ()
    driver: Driver | None = None
    held: tuple[str, ...] = ()
    sharing: bool = False
    memory: int = 0
    packages: str = ""
    kept: str = ""
    vault: VaultServer | None = None
    removed: bool = False
    leaving: tuple[int, ...] = ()
    staying: tuple[str, ...] = ()
    version: int = field(default=1)

    @property
    def marker(self) -> str:
        """The text by which an object on the node is known as this hub's."""
        return derived.marker(self.hub_id)

    @property
    def table(self) -> str:
        """The nft tables of the walls, one in each of the families inet, bridge and arp."""
        return derived.table(self.hub)

    @property
    def pool(self) -> str:
        """The Proxmox pool of the hub's guests."""
        return derived.pool(self.hub)

    @property
    def user(self) -> str:
        """The Proxmox user of the hub."""
        return derived.user(self.hub)

    @property
    def token(self) -> str:
        """The API token's full name."""
        return derived.token(self.hub)

    @property
    def token_comment(self) -> str:
        """The token's comment, where the value that is kept here is its value."""
        return derived.token_comment(self.hub_id, self.kept)

    def zone_of(self, address: str) -> Zone | None:
        """The zone that an address or a CIDR lies in."""
        first = ip_address(address.partition("/")[0])
        return next((z for z in self.zones if first in ip_network(z.subnet)), None)


def from_data(data: Mapping[str, Any]) -> Desired:
    """The desired state from its `asdict`. Raises ValueError for another version."""
    if data.get("version") != 1:
        raise ValueError(f"desired node state of version {data.get('version')}; this metal reads version 1")
    parts = {
        "zones": tuple(Zone(**z) for z in data["zones"]),
        "flows": tuple(Flow(**f) for f in data["flows"]),
        "ports": tuple(Port(**p) for p in data["ports"]),
        "lan": tuple(Flow(**f) for f in data["lan"]),
        "outside": tuple(data["outside"]),
        "records": tuple(Record(**r) for r in data["records"]),
        "names": tuple((name, address) for name, address in data["names"]),
        "storages": tuple(data["storages"]),
        "mirrors": tuple(Mirror(one["storage"], tuple(one["disks"]), one["stand_in"]) for one in data["mirrors"]),
        "cards": tuple(Card(**card) for card in data["cards"]),
        "held": tuple(data["held"]),
        "leaving": tuple(data["leaving"]),
        "staying": tuple(data["staying"]),
        "driver": _driver(data["driver"]),
        "vault": VaultServer(**data["vault"]) if data.get("vault") else None,
    }
    return Desired(**{**data, **parts})


def _driver(data: Mapping[str, Any] | None) -> Driver | None:
    return Driver(**{**data, "packages": tuple(data["packages"]), "headers": tuple(data["headers"])}) if data else None
