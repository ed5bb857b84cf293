"""The hub resolved: guests, instances and flows with every derived value, as the rest of aihub uses them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from .hub import HubFile, LanguageModel, Node, Zone
from .stack import Alphabet, OnChange, Stack
from .target import Target

EGRESS = "egress"
"""The stack through which zones without internet reach listed hosts."""
VAULT = "vault"
"""The stack that keeps the hub's secrets and makes its certificates."""
LOGIN_STACKS = ("postgres", "redis")
"""Stacks that other stacks log in at."""
ONE_USER = ("redis",)
"""Those of them where one user holds both passwords of a pair; elsewhere a pair is two users, ROLE_a and ROLE_b."""
VERIFY = "verify"
"""The checks' own login at every provider."""
RECONCILE = "reconcile"
"""The entry of a provider that holds the pair which aihub itself logs in with."""
RECONCILE_ROLE = "hub_reconcile"
"""The role of that pair inside the provider."""


def bridge_of(zone: str) -> str:
    """The name of a zone's bridge."""
    return f"hub{zone}"[:10]


def gateway_of(subnet: IPv4Network) -> IPv4Address:
    """The first address of a subnet."""
    return subnet[1] if subnet.num_addresses > 2 else subnet[0]


def approle_id(hub: str, guest: str) -> str:
    """The role-id with which a guest's agent logs in: a name, not a secret; the secret-id is what proves it."""
    return hashlib.sha256(f"{hub}\n{guest}\napprole".encode()).hexdigest()[:32]


def mac_of(vmid: int) -> str:
    """The network card's address: Proxmox's own prefix and the last three bytes of the VMID."""
    return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in (vmid & 0xFFFFFF).to_bytes(3, "big"))


@dataclass(frozen=True)
class Guest:
    """A guest with everything that follows from hub.yml."""

    name: str
    vmid: int
    kind: Literal["lxc", "vm"]
    zone: str
    node: str
    address: IPv4Address
    subnet: IPv4Network
    gateway: IPv4Address
    bridge: str
    mac: str
    fqdn: str
    cores: int
    memory: int  # bytes
    disk: int  # bytes
    storage: str  # the node's storage id
    gpu: str | None
    internet: bool
    stacks: tuple[str, ...]
    vlan: int | None = None


@dataclass(frozen=True)
class Instance:
    """A stack on a guest. `providers` maps a needed stack's name to the instance that serves it."""

    stack: Stack
    guest: Guest
    options: Mapping[str, object] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`STACK@GUEST`."""
        return f"{self.stack.name}@{self.guest.name}"

    def object_name(self, key: str) -> str:
        """The name of a database, an owner role or an ACL user that this instance owns elsewhere."""
        return f"{self.stack.name}_{self.guest.name}_{key}".replace("-", "_")


@dataclass(frozen=True, order=True)
class Flow:
    """Allowed traffic: from a guest's address (or a whole subnet) to a guest's port."""

    source: str  # CIDR
    destination: str  # address
    port: int
    protocol: str = "tcp"
    why: str = ""


@dataclass(frozen=True)
class Consumer:
    """One who logs in at a provider: `role` owns, `role_a` and `role_b` log in."""

    provider: str  # instance name, like postgres@db
    consumer: str  # instance name, or "verify"
    key: str  # the database or ACL user as the consumer names it
    role: str


@dataclass(frozen=True)
class SecretRef:
    """One entry of the vault that a guest reads: a value of the instance's own, a login elsewhere, or a pair."""

    instance: str  # STACK@GUEST
    name: str  # inside the instance, like api_key, postgres_main or reconcile
    path: str  # below the mount kv: hub/ZONE/GUEST/STACK/NAME
    kind: Literal["value", "login", "pair"]
    files: Mapping[str, str]  # key of the entry, or several and so many lines -> file under /run/hub/STACK
    length: int
    alphabet: Alphabet
    rotate: int  # days
    on_change: OnChange


@dataclass(frozen=True)
class Pair:
    """Both passwords of a role that logs in at a provider, as {"a", "b", "active"} at `path` below the mount kv."""

    provider: str  # STACK@GUEST
    role: str
    path: str
    entry: SecretRef | None  # what its consumer reads; None for those of the checks and of aihub itself
    rotate: int  # days

    @property
    def name(self) -> str:
        """`PROVIDER/ROLE`."""
        return f"{self.provider}/{self.role}"

    def user(self, half: str) -> str:
        """Whom one half (`a` or `b`) logs in as."""
        return self.role if self.provider.partition("@")[0] in ONE_USER else f"{self.role}_{half}"


@dataclass(frozen=True)
class Certificate:
    """A certificate that an instance serves with; `role` is its role at the vault's certificate authority."""

    instance: str  # STACK@GUEST
    role: str  # STACK-GUEST
    name: str  # GUEST.DOMAIN, and no other name
    days: int
    on_change: OnChange


@dataclass(frozen=True)
class Hub:
    """A hub file with its stacks, resolved and free of contradictions."""

    file: HubFile
    path: str
    stacks: Mapping[str, Stack]
    id: str  # 16 hex digits; derived from name and domain where hub.yml has none
    guests: Mapping[str, Guest]
    instances: tuple[Instance, ...]  # in start order
    flows: tuple[Flow, ...]
    consumers: tuple[Consumer, ...]
    secrets: tuple[SecretRef, ...]
    target: Target
    warnings: tuple[str, ...] = ()
    operator_keys: tuple[str, ...] = ()  # public key lines
    operator_recovery: tuple[str, ...] = ()  # age1... keys and ssh-ed25519 lines
    pairs: tuple[Pair, ...] = ()
    certificates: tuple[Certificate, ...] = ()

    @property
    def name(self) -> str:
        return self.file.hub.name

    @property
    def domain(self) -> str:
        return self.file.hub.domain

    @property
    def zones(self) -> Mapping[str, Zone]:
        return {str(name): zone for name, zone in self.file.zones.items()}

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self.file.nodes

    @property
    def models(self) -> Mapping[str, LanguageModel]:
        return self.file.models

    @cached_property
    def egress_hosts(self) -> tuple[str, ...]:
        """Every outside host that the egress proxy lets through, sorted (stacks' needs only)."""
        return tuple(sorted({h for i in self.instances for h in i.stack.needs.internet}))

    def bridge(self, zone: str) -> str:
        """The node's bridge for a zone; at most 10 characters, as PVE takes."""
        return bridge_of(zone)

    def gateway(self, zone: str) -> IPv4Address:
        """The first address of the zone's subnet; the node holds it."""
        return gateway_of(self.zones[zone].subnet)

    @cached_property
    def egress(self) -> Instance | None:
        """The proxy of the zones without internet; None where the hub has none."""
        return next((i for i in self.instances if i.stack.name == EGRESS), None)

    @cached_property
    def way_out(self) -> tuple[IPv4Address, int] | None:
        """Address and port of that proxy."""
        port = self.egress.stack.main_port if self.egress else None
        return (self.egress.guest.address, port) if self.egress and port else None

    @cached_property
    def vault(self) -> Instance | None:
        """The vault; None where the hub has neither secrets nor certificates."""
        return next((i for i in self.instances if i.stack.name == VAULT), None)

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """The guests with secrets or certificates, in hub.yml's order: each has an agent that fetches them."""
        owners = {one.instance for one in self.secrets} | {one.instance for one in self.certificates}
        named = {self.instance(owner).guest.name for owner in owners}
        return tuple(name for name in self.guests if name in named)

    @cached_property
    def _by_name(self) -> Mapping[str, Instance]:
        return {i.name: i for i in self.instances}

    @cached_property
    def _by_guest(self) -> Mapping[str, tuple[Instance, ...]]:
        found: dict[str, tuple[Instance, ...]] = {}
        for instance in self.instances:
            found[instance.guest.name] = (*found.get(instance.guest.name, ()), instance)
        return found

    def instance(self, name: str) -> Instance:
        """The instance called `STACK@GUEST`. Raises KeyError."""
        return self._by_name[name]

    def on(self, guest: str) -> tuple[Instance, ...]:
        """The instances of one guest, in start order."""
        return self._by_guest.get(guest, ())
