"""hub.yml, key by key. The JSON Schema, the starter file and the messages are generated from these models."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from .catalogue import ImageName
from .families import words_before
from .types import (
    DIGEST,
    DOMAIN,
    HUB_ID,
    HUB_NAME,
    INSTANCE_ID,
    KEY,
    NAME,
    PCI_ID,
    WEIGHTS,
    Address,
    CardName,
    DiskName,
    Key,
    ModelName,
    Name,
    NodeName,
    NotYet,
    RecoveryKey,
    Service,
    Size,
    SshKey,
    StorageId,
    Strict,
    Subnet,
    as_list,
    format_size,
)

GIB = 1 << 30
ZoneName = Literal["infra", "private", "public"]
StorageClass = Literal["fast", "bulk"]
Flavour = Literal["openbao", "vault"]


class HubSettings(Strict):
    """Who the hub is."""

    name: str = Field(
        pattern=HUB_NAME,
        description="The hub's name: state directory, pool and token carry it.",
        examples=["aihub"],
    )
    domain: str = Field(
        pattern=DOMAIN,
        max_length=180,
        description="The domain under which every guest has its name; the node answers for it.",
        examples=["hub.home.arpa"],
    )
    id: str | None = Field(
        None,
        pattern=HUB_ID,
        description="Marks every object as this hub's own; never change it. Only the lab can do without.",
    )


class Operator(Strict):
    """The people who may log in beside the controller."""

    ssh_keys: list[SshKey] = Field(
        default_factory=list,
        max_length=50,
        description="Public keys that may log in beside the controller's own: .pub files or key lines.",
        examples=[["~/.ssh/id_ed25519.pub"]],
    )
    recovery: list[RecoveryKey] = Field(
        default_factory=list,
        max_length=20,
        description="Who can open the recovery kit: age keys (age1...), ssh-ed25519 lines or .pub files. "
        "Their private halves have no passphrase and lie on another machine.",
        examples=[["~/.ssh/id_ed25519.pub"]],
    )


class Network(Strict):
    """Who routes between the zones."""

    gateway: Literal["node", "external"] = Field(
        default="node",
        description="node: the Proxmox node routes, nothing else is needed. external: your router does.",
    )


class StorageMaking(Strict):
    """How a storage is made where the node has none of its name."""

    mirror: list[DiskName] = Field(
        min_length=2,
        max_length=4,
        description="Whole, empty disks of one size, as /dev/disk/by-id names them: ZFS keeps the same on each.",
        examples=[["nvme-MAKER_MODEL_SERIAL1", "nvme-MAKER_MODEL_SERIAL2"]],
    )


class StorageUse(Strict):
    """A storage of the node."""

    use: StorageId = Field(description="The storage's id in Proxmox.", examples=["local-zfs"])
    create: StorageMaking | None = Field(
        None, description="How it is made where the node has none of that name: a ZFS pool, never removed again."
    )


class GpuCard(Strict):
    """A card in the node."""

    id: str = Field(pattern=PCI_ID, description="Vendor and device as `lspci -nn` prints them.", examples=["10de:2b85"])
    vram: Size = Field(description="The card's memory.", examples=["32GiB"])
    mode: Literal["passthrough", "lxc"] = Field(
        default="passthrough",
        description="passthrough: one VM has it, and the node lets go of it. lxc: the node's own NVIDIA driver keeps "
        "it, and containers share it. Another mode needs a reboot of the node.",
    )
    subsystem: str | None = Field(
        None,
        pattern=PCI_ID,
        description="Vendor and device of its board, as `lspci -nnv` prints them: tells two cards with one id apart.",
        examples=["1043:8a2b"],
    )


class LabNode(Strict):
    """What the rehearsal's node reports; on a real node facts are read."""

    cores: int = Field(ge=1, le=1024, description="Processor threads.", examples=[24])
    memory: Size = Field(description="Main memory.", examples=["128GiB"])
    disk: dict[StorageClass, Size] = Field(
        default_factory=dict, description="Size of its storages; one that is not named holds 4TiB."
    )


class Node(Strict):
    """A Proxmox VE host."""

    address: Address = Field(description="The node's address in your LAN.", examples=["192.168.1.10"])
    storage: dict[StorageClass, StorageUse] = Field(
        min_length=1, description="Which storage serves guests that ask for `fast` or `bulk`."
    )
    gpus: dict[CardName, GpuCard] = Field(
        default_factory=dict, description="Cards that guests may use, by the names of their PCI mappings in Proxmox."
    )
    packages: Literal["no-subscription"] | None = Field(
        None,
        description="no-subscription: Proxmox's packages come from the repository that asks for none, the enterprise "
        "one is put aside. Where nothing is said, nothing is changed.",
    )
    lab: LabNode | None = Field(
        None, description="The size that the node has in the lab, so that budgets are rehearsed too."
    )


Lan = Annotated[list[Service], BeforeValidator(as_list, json_schema_input_type=list[Service] | Service)]


class Zone(Strict):
    """A trust zone: a bridge, a subnet and a policy."""

    subnet: Subnet = Field(
        description="The zone's own private IPv4 subnet; its first address is the gateway.",
        examples=["10.10.10.0/24"],
    )
    internet: Literal["outbound", "none"] = Field(
        description="outbound: guests reach public addresses. none: only hosts that stacks name, through the way out. "
        "Neither leads into your LAN.",
        examples=["outbound"],
    )
    lan: Lan = Field(
        default_factory=list,
        max_length=100,
        description="What all guests of the zone reach in your LAN, and nothing else of it: ADDRESS:PORT, with /udp "
        "behind it where it is not TCP.",
        examples=[["192.168.1.20:445"]],
    )
    entry: Annotated[
        Address | None, NotYet("nothing leads from your LAN into a zone in this version; remove `entry`")
    ] = Field(
        None, description="A free LAN address that leads to the zone's ingress (not yet).", examples=["192.168.1.20"]
    )
    vlan: int | None = Field(
        None, ge=1, le=4094, description="The zone's VLAN; only with an external gateway.", examples=[10]
    )


class StackPlacement(Strict):
    """A stack under a guest: its name and its options."""

    name: Name
    replicas: Annotated[
        int, NotYet("a stack has one of each container in this version; remove `replicas`, or place it on more guests")
    ] = Field(1, ge=1, le=16, description="Copies of the stack's main container (not yet).")
    flavour: Flavour | None = Field(None, description="Which server the vault stack runs; openbao unless it says so.")
    id: str | None = Field(
        None,
        pattern=INSTANCE_ID,
        max_length=127,
        description="What its data is called by; only `aihub move` writes it.",
    )
    use: dict[Key, Name] = Field(
        default_factory=dict,
        description="KIND: the guest whose instance serves it, where not the nearest is meant.",
        examples=[{"sql": "db"}],
    )


def _placement(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and len(value) == 1:
        ((name, options),) = value.items()
        if name != "name" and (options is None or (isinstance(options, dict) and "name" not in options)):
            return {"name": name, **(options or {})}
    return value


Placement = Annotated[
    StackPlacement,
    BeforeValidator(_placement),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": NAME},
                {
                    "type": "object",
                    "maxProperties": 1,
                    "minProperties": 1,
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "replicas": {"type": "integer", "minimum": 1, "maximum": 16},
                            "flavour": {"enum": list(get_args(Flavour))},
                            "id": {"type": "string", "pattern": INSTANCE_ID, "maxLength": 127},
                            "use": {
                                "type": "object",
                                "additionalProperties": False,
                                "patternProperties": {KEY: {"type": "string", "pattern": NAME}},
                            },
                        },
                    },
                },
            ]
        }
    ),
]


def _whole_gib(size: int) -> int:
    if size % GIB:
        raise ValueError(f"a disk is a whole number of GiB, not {format_size(size)}")
    return size


def _between(least: int, most: int) -> AfterValidator:
    def check(size: int) -> int:
        if not least <= size <= most:
            raise ValueError(f"{format_size(size)} is not between {format_size(least)} and {format_size(most)}")
        return size

    return AfterValidator(check)


class GuestSpec(Strict):
    """A container or a VM as hub.yml writes it."""

    id: Name | None = Field(None, description="What its data is called by; only `aihub rename` writes it.")
    vmid: int = Field(
        ge=100,
        le=999_999_999,
        description="The guest's number in Proxmox; fixed for its life.",
        examples=[110],
    )
    kind: Literal["lxc", "vm"] = Field(description="lxc: a system container. vm: a virtual machine.", examples=["lxc"])
    zone: ZoneName = Field(description="The zone it stands in.", examples=["infra"])
    address: Address = Field(description="Its address in the zone's subnet.", examples=["10.10.10.11"])
    cores: int = Field(ge=1, le=1024, description="Processor cores.", examples=[4])
    memory: Annotated[Size, _between(256 << 20, 8192 * GIB)] = Field(description="Main memory.", examples=["8GiB"])
    disk: Annotated[Size, AfterValidator(_whole_gib), _between(4 * GIB, 131072 * GIB)] = Field(
        description="Size of its root disk.", examples=["64GiB"]
    )
    storage: StorageClass = Field("fast", description="Which of the node's storages holds the disk.")
    image: ImageName | None = Field(
        None,
        description="What it is made from; where nothing is said, debian-13, and with a card ubuntu-24.04. It counts "
        "when the guest is made: later it changes nothing.",
        examples=["debian-13"],
    )
    lan: Lan = Field(
        default_factory=list,
        max_length=100,
        description="What it reaches in your LAN beside what its zone does: ADDRESS:PORT, /udp behind it where it is "
        "not TCP.",
        examples=[["192.168.1.20:445"]],
    )
    node: NodeName | None = Field(
        None, description="The node it runs on; needed only where there are several.", examples=["pve"]
    )
    gpu: CardName | None = Field(
        None,
        description="A card of its node: passed to this VM alone, or in mode lxc shared to this container.",
        examples=["rtx5090"],
    )
    stacks: Annotated[
        list[Placement],
        BeforeValidator(as_list, json_schema_input_type=list[Placement] | Placement),
    ] = Field(
        default_factory=list,
        max_length=30,
        description="What runs on it: folders of stacks/.",
        examples=[["vault"]],
    )


Use = Literal["chat", "embedding"]
CacheNumbers = Literal["f16", "q8_0", "q4_0", "fp8"]


class LanguageModel(Strict):
    """A language model that the hub serves."""

    engine: Name = Field(description="The stack that serves it: one that gives `models`.")
    guest: Name = Field(description="The guest whose engine serves it.", examples=["private-ai"])
    weights: str = Field(
        pattern=WEIGHTS,
        max_length=200,
        description="The model as its engine names it.",
        examples=["qwen2.5:7b"],
    )
    use: Use = Field("chat", description="What it is for: chat answers, embedding finds texts by their meaning.")
    context: int = Field(4096, ge=256, le=1_048_576, description="Tokens of context that a request may use.")
    parallel: int = Field(1, ge=1, le=256, description="Requests at a time, each with a context of its own.")
    kv: CacheNumbers = Field(
        "f16", description="The numbers of the KV cache: smaller ones hold more context and answer a little worse."
    )
    keep_loaded: bool = Field(True, description="Whether it stays in memory when nobody asks it.")
    memory: Size | None = Field(
        None,
        description="What it takes of the card in all, where that can't be told from the name of its weights.",
        examples=["22GiB"],
    )
    digest: str | None = Field(
        None, pattern=DIGEST, description="What the weights must be, as the engine tells it: 64 hex digits."
    )
    fallback: list[ModelName] = Field(
        default_factory=list,
        max_length=8,
        description="Models of its zone that the gateway asks in its place, one after the other, while it fails.",
        examples=[["qwen2.5-14b"]],
    )

    @property
    def words_before(self) -> tuple[str, str]:
        """What stands before a question and before a passage that this model embeds."""
        return words_before(self.weights)


Share = Annotated[int, Field(ge=1, le=1000)]


class HubFile(Strict):
    """hub.yml: everything that one hub is."""

    hub: HubSettings = Field(description="Who the hub is.")
    operator: Operator = Field(default_factory=Operator, description="The people who may log in.")
    network: Network = Field(default=Network(), description="Who routes between the zones.")
    nodes: dict[NodeName, Node] = Field(
        min_length=1, description="The Proxmox VE hosts, by their name in Proxmox. One is enough."
    )
    zones: dict[ZoneName, Zone] = Field(
        min_length=1, description="Trust zones: nothing passes between them but what a stack declares."
    )
    guests: dict[Name, GuestSpec] = Field(
        default_factory=dict, max_length=2000, description="Containers and VMs, by host name."
    )
    models: dict[ModelName, LanguageModel] = Field(
        default_factory=dict, description="Language models, by the name that their users call."
    )
    routes: dict[ModelName, Annotated[dict[ModelName, Share], Field(min_length=2, max_length=20)]] = Field(
        default_factory=dict,
        description="More names that users of the gateway may call: MODEL: its share of the requests. The others of a "
        "route answer in place of one that fails.",
        examples=[{"chat": {"small": 3, "large": 1}}],
    )
