"""The hub resolved: guests, instances and flows with every derived value, as the rest of aihub uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from .catalogue import USUAL, ImageName
from .hub import HubFile, LanguageModel, Node, Zone
from .stack import MODELS, Alphabet, Offer, OnChange, Stack, Strategy
from .target import Target

Keep = Literal["never", "given", "login"]
"""Why a secret is kept with its instance's data: it encrypts some of that, somebody typed it, or the data knows it as
aihub's own login."""
VERIFY = "verify"
"""The checks' own login at every provider."""
RECONCILE = "reconcile"
"""The entry of a provider that holds the pair which aihub itself logs in with."""
RECONCILE_ROLE = "hub_reconcile"
"""The role of that pair inside the provider."""
MACHINE = "machine"
"""The folder in memory with a guest's own certificate, and how its role at the authority begins: no stack's name."""
MACHINE_DAYS = 30
"""How long it lives."""
MACHINE_MEMORY = 256 << 20
"""What a guest needs beside its stacks: its system, Docker, agent and door."""


def bridge_of(zone: str) -> str:
    """The name of a zone's bridge."""
    return f"hub{zone}"[:10]


def gateway_of(subnet: IPv4Network) -> IPv4Address:
    """The first address of a subnet."""
    return subnet[1] if subnet.num_addresses > 2 else subnet[0]


def role_of(instance: str, key: str) -> str:
    """What an instance (its id) is called at providers, for one of its needs."""
    return f"{instance}_{key}".replace("@", "_").replace("-", "_")


def mac_of(vmid: int) -> str:
    """The network card's address: Proxmox's own prefix and the last three bytes of the VMID."""
    return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in (vmid & 0xFFFFFF).to_bytes(3, "big"))


@dataclass(frozen=True)
class Guest:
    """A guest with everything that follows from hub.yml."""

    name: str
    id: str  # what bears its data is called by; its name, unless hub.yml has another
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
    image: ImageName = USUAL


@dataclass(frozen=True)
class Instance:
    """A stack on a guest. `providers` maps each kind that it needs to the instance that serves it, `every` those of
    which it uses all to the instances of its zone."""

    stack: Stack
    guest: Guest
    options: Mapping[str, object] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    every: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def used(self) -> tuple[tuple[str, str], ...]:
        """Whom it uses: each kind with an instance that gives it."""
        return (*self.providers.items(), *((kind, name) for kind, names in self.every.items() for name in names))

    @property
    def has_card(self) -> bool:
        """Whether its containers get the guest's card."""
        return self.stack.gpu.need != "none" and self.guest.gpu is not None

    @property
    def id(self) -> str:
        """What its data is called by: databases, roles, entries of the store. `STACK@ID`, for ever the same."""
        return str(self.options.get("id") or f"{self.stack.name}@{self.guest.id}")

    @property
    def started_after(self) -> tuple[str, ...]:
        """The instances that serve what it needs in order to start, each once."""
        return tuple(dict.fromkeys(self.providers[kind] for kind in self.stack.needs.start if kind in self.providers))

    @property
    def name(self) -> str:
        """`STACK@GUEST`."""
        return f"{self.stack.name}@{self.guest.name}"

    @property
    def folder(self) -> str:
        """Where its entries lie in the store: hub/GUEST/STACK, by ids."""
        stack, _, guest = self.id.partition("@")
        return f"hub/{guest}/{stack}"

    @property
    def store_name(self) -> str:
        """What its policy and certificates are called in the store, by ids."""
        return self.id.replace("@", "-")

    def object_name(self, key: str) -> str:
        """The name of a database, an owner role or an ACL user that this instance owns elsewhere."""
        return role_of(self.id, key)


@dataclass(frozen=True)
class Engine:
    """One that serves language models, as those see it who use all of its zone."""

    instance: str  # STACK@GUEST
    url: str  # below it, OpenAI's API
    models: Mapping[str, LanguageModel]  # by the names that their users call


@dataclass(frozen=True, order=True)
class Flow:
    """Allowed traffic: from a guest's address (or a whole subnet) to a guest's port, or to one in the LAN."""

    source: str  # CIDR
    destination: str  # address
    port: int
    protocol: str = "tcp"
    why: str = ""


@dataclass(frozen=True)
class Opening:
    """A port of a guest's door, and the port of the loopback that it leads to."""

    instance: str  # STACK@GUEST
    port: int
    inside: int
    client: bool  # whether it asks who comes for a certificate
    paths: tuple[str, ...] = ()  # what it passes on; empty: everything
    own: bool = False  # whether who comes reaches only what lies below the name in its certificate

    @classmethod
    def of(cls, instance: Instance) -> Opening | None:
        """Where an instance answers HTTP; None where it doesn't."""
        http = instance.stack.http
        if http is None:
            return None
        inside, client = http.inside or http.port, http.client == "required"
        return cls(instance.name, http.port, inside, client, tuple(http.paths), http.own)


@dataclass(frozen=True)
class Consumer:
    """One who uses a provider: `role` owns what it has there; whether and how it logs in, the strategy says."""

    provider: str  # instance name, like db@data
    consumer: str  # instance name, or "verify"
    kind: str
    key: str  # what the consumer calls it
    role: str
    strategy: Strategy | None = None
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    later: bool = False
    shows: str = ""  # with `certificate`: the one name in it, by which its provider knows it

    @property
    def name(self) -> str:
        """What the consumer's files and its entry in the store begin with."""
        return f"{self.kind}_{self.key}"

    @property
    def variable(self) -> str:
        """What the consumer's variables in Compose begin with."""
        return f"HUB_{self.name}".upper()


@dataclass(frozen=True)
class SecretRef:
    """One entry of the vault that a guest reads: a value of the instance's own, a login elsewhere, or a pair."""

    instance: str  # STACK@GUEST
    name: str  # inside the instance, like api_key, KIND_KEY or reconcile
    path: str  # below the mount kv: hub/GUEST/STACK/NAME, by ids
    kind: Literal["value", "login", "pair"]
    files: Mapping[str, str]  # file under /run/hub/STACK -> its text, {KEY} for each key of the entry
    length: int
    alphabet: Alphabet
    rotate: int | None  # days; None: never
    on_change: OnChange
    later: bool = False  # the instance starts without it
    given: bool = False  # by a person, so that nobody here makes it

    @property
    def keep(self) -> Keep | None:
        """Why its value stays with the data of its instance when that is no longer declared; None: it goes then."""
        if self.kind == "pair":
            return "login"
        return "given" if self.given else "never" if self.rotate is None else None


@dataclass(frozen=True)
class Pair:
    """The passwords of a role that logs in at a provider, as {"a", "b", "active"} at `path` below the mount kv.

    With the strategy `single` there is only one, "a".
    """

    provider: str  # STACK@GUEST
    role: str
    path: str
    entry: SecretRef | None  # what its consumer reads; None for those of the checks and of aihub itself
    rotate: int  # days
    strategy: Strategy = "pair"
    interrupts: str = ""  # with `single`: how long a change may keep its consumer out

    @property
    def name(self) -> str:
        """`PROVIDER/ROLE`."""
        return f"{self.provider}/{self.role}"

    @property
    def halves(self) -> tuple[str, ...]:
        """The keys of its passwords."""
        return ("a",) if self.strategy == "single" else ("a", "b")

    def user(self, half: str) -> str:
        """Whom one half (`a` or `b`) logs in as."""
        return f"{self.role}_{half}" if self.strategy == "pair" else self.role


@dataclass(frozen=True)
class Certificate:
    """A certificate that an instance has, or a guest itself; `role` is its role at the vault's certificate authority.

    It serves with it, or, where a provider asks for one, says with it who it is (`client`); a guest's is for both.
    """

    instance: str  # STACK@GUEST, or the guest's name
    role: str
    name: str  # the one name in it
    days: int
    on_change: OnChange
    file: str = "tls.pem"  # key and chain, under /run/hub/STACK
    server: bool = True
    client: bool = False
    later: bool = False  # the instance starts without it

    @property
    def guest(self) -> str:
        """The guest whose agent gets it."""
        return self.instance.rpartition("@")[2]

    @property
    def folder(self) -> str:
        """Its folder under /run/hub: STACK, or that of the machine itself."""
        return self.instance.rpartition("@")[0] or MACHINE

    @property
    def place(self) -> str:
        """What its guest's agent calls it: STACK.FILE."""
        return f"{self.folder}.{self.file}"


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
    package_hosts: tuple[str, ...] = ()  # where the OS images of its target take packages from
    outside: tuple[str, ...] = ()  # what zones with internet reach in its target although it is not public
    handed: tuple[SecretRef, ...] = ()  # entries of `secrets` that somebody else is handed, too
    copiers: Mapping[str, Instance] = field(default_factory=dict)  # by guest: what makes copies there, as an instance
    built: Mapping[str, str] = field(default_factory=dict)  # of images that its target builds itself, what of, hashed
    lan: tuple[Flow, ...] = ()

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
        """Every outside host that stacks need, sorted."""
        return tuple(sorted({h for i in self.instances for h in i.stack.needs.internet}))

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Every outside host that the way out lets through, sorted: what stacks need, and where packages come from."""
        return tuple(sorted({*self.package_hosts, *self.egress_hosts}))

    def bridge(self, zone: str) -> str:
        """The node's bridge for a zone; at most 10 characters, as PVE takes."""
        return bridge_of(zone)

    def gateway(self, zone: str) -> IPv4Address:
        """The first address of the zone's subnet; the node holds it."""
        return gateway_of(self.zones[zone].subnet)

    @cached_property
    def egress(self) -> Instance | None:
        """The proxy of the zones without internet; None where the hub has none."""
        return next((i for i in self.instances if i.stack.office == "egress"), None)

    @cached_property
    def way_out(self) -> tuple[IPv4Address, int] | None:
        """Address and port of that proxy."""
        port = self.egress.stack.main_port if self.egress else None
        return (self.egress.guest.address, port) if self.egress and port else None

    @cached_property
    def vault(self) -> Instance | None:
        """The vault; None where the hub has neither secrets nor certificates."""
        return next((i for i in self.instances if i.stack.office == "secrets"), None)

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """The guests with an agent that fetches secrets and certificates, in hub.yml's order: all, or none at all."""
        return tuple(self.guests) if self.vault else ()

    @cached_property
    def machines(self) -> Mapping[str, Certificate]:
        """Each guest's own certificate, by its name: what roles need one for is not of any instance."""
        return {name: self._machine(self.guests[name]) for name in self.agents}

    def _machine(self, guest: Guest) -> Certificate:
        change: OnChange = "reload" if self.door(guest.name) else "none"
        role = f"{MACHINE}-{guest.id}"
        return Certificate(guest.name, role, guest.fqdn, MACHINE_DAYS, change, client=True)

    def least_memory(self, guest: str) -> int:
        """What a guest and its instances need together, in bytes."""
        return MACHINE_MEMORY + sum(instance.stack.memory for instance in self.on(guest))

    def door(self, guest: str) -> tuple[Opening, ...]:
        """What the door of a guest leads to, by port; nothing where no instance answers HTTP."""
        found = [opening for instance in self.on(guest) if (opening := Opening.of(instance))]
        return tuple(sorted(found, key=lambda one: one.port))

    @cached_property
    def _by_name(self) -> Mapping[str, Instance]:
        return {i.name: i for i in (*self.instances, *self.copiers.values())}

    @cached_property
    def _by_guest(self) -> Mapping[str, tuple[Instance, ...]]:
        found: dict[str, tuple[Instance, ...]] = {}
        for instance in self.instances:
            found[instance.guest.name] = (*found.get(instance.guest.name, ()), instance)
        return found

    def into_lan(self, guest: Guest) -> tuple[Flow, ...]:
        """What a guest reaches in the LAN, by its own declaration or its zone's."""
        return tuple(flow for flow in self.lan if guest.address in IPv4Network(flow.source))

    def instance(self, name: str) -> Instance:
        """The instance called `STACK@GUEST`. Raises KeyError."""
        return self._by_name[name]

    def offer(self, consumer: Consumer) -> Offer:
        """What a provider gives to one of its consumers."""
        return self.instance(consumer.provider).stack.gives[consumer.kind]

    def uses(self, instance: Instance) -> tuple[Consumer, ...]:
        """What an instance uses of others, in the order of its stack.yml."""
        return tuple(one for one in self.consumers if one.consumer == instance.name)

    def served(self, instance: Instance) -> tuple[LanguageModel, ...]:
        """The language models of hub.yml that an instance serves."""
        return tuple(self._models(instance).values())

    def engines(self, instance: Instance) -> tuple[Engine, ...]:
        """The engines that an instance uses, with the models that each serves."""
        return tuple(map(self._engine, instance.every.get(MODELS, ())))

    def routes(self, instance: Instance) -> Mapping[str, Mapping[str, int]]:
        """The routes of hub.yml between models of the engines that an instance uses: MODEL: its share."""
        known = {name for engine in self.engines(instance) for name in engine.models}
        return {name: shares for name, shares in self.file.routes.items() if known >= set(shares)}

    def _engine(self, name: str) -> Engine:
        one = self.instance(name)
        offer = one.stack.gives[MODELS]
        return Engine(one.name, f"https://{one.guest.fqdn}:{offer.port}{offer.api}", self._models(one))

    def _models(self, instance: Instance) -> dict[str, LanguageModel]:
        here = (instance.stack.name, instance.guest.name)
        return {name: one for name, one in self.models.items() if (one.engine, one.guest) == here}

    def told(self, guest: str) -> tuple[Instance, ...]:
        """Whom the agent of a guest brings what they need: its instances, and what makes copies there."""
        return (*self.on(guest), *((self.copiers[guest],) if guest in self.copiers else ()))

    def read(self, instance: Instance) -> tuple[SecretRef, ...]:
        """The entries that an instance reads: its own, and those that it is handed."""
        return tuple(ref for ref in (*self.secrets, *self.handed) if ref.instance == instance.name)

    def on(self, guest: str) -> tuple[Instance, ...]:
        """The instances of one guest, in start order."""
        return self._by_guest.get(guest, ())
