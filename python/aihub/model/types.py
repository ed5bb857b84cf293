"""The small value types that every model shares: names, sizes, addresses, strict base class.

Patterns are checked by pydantic's own engine, where `$` is the very end: no trailing newline slips through.
`MEANING` says in words what a pattern asks for; messages and docs use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, WithJsonSchema

UNITS = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

NAME = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
INSTANCE_ID = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
HUB_NAME = r"^[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?$"
KEY = r"^[a-z][a-z0-9_]{0,62}$"
# What others have given names to, follows their rules: nodes, PCI mappings and storages are called so in Proxmox.
NODE_NAME = r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
CARD_NAME = r"^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$"
DISK_NAME = r"^(?:ata|nvme|scsi|usb|virtio|wwn)-[A-Za-z0-9][A-Za-z0-9._:+=-]{2,200}$"
STORAGE_ID = r"^[A-Za-z][A-Za-z0-9._-]{0,62}[A-Za-z0-9]$"
DOMAIN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+$"
OUTSIDE_HOST = r"^(?:\*\.)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+$"
MODEL_NAME = r"^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$"
_PART = r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*"
WEIGHTS = rf"^{_PART}(?:/{_PART}){{0,3}}(?::{_PART})?$"
DOTTED = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$"
SERVICE = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}:[1-9][0-9]{0,4}(/(tcp|udp))?$"
PCI_ID = r"^[0-9a-f]{4}:[0-9a-f]{4}$"
HUB_ID = r"^[0-9a-f]{16}$"
_SEGMENT = r"\.?[A-Za-z0-9_@+](?:[A-Za-z0-9_@+-]|\.[A-Za-z0-9_@+-])*"
_COMMENT = r"(?:[ \t]+[^\n\r]{1,2000})?[ \t]*"  # whatever a person or a machine calls itself
KEY_LINE = (
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com)"
    rf"[ \t]+[A-Za-z0-9+/]{{32,2000}}={{0,2}}{_COMMENT}"
)
SSH_KEY = rf"^(?:(?:~/|/|\./)?(?:{_SEGMENT}/)*{_SEGMENT}\.pub|{KEY_LINE})$"
# Written with plain ranges, so that every reader of the JSON Schema understands them.
_WORDS = r"[A-Za-z0-9À-ɏ][A-Za-z0-9À-ɏ ,.:()'/+!?=_-]*"
SENTENCE = rf"^{_WORDS}$"
COMMAND = r'^(?:[ -z|}~]|\{[ !"$&-z|}~])*$'
HTTP_PATH = r"^/[A-Za-z0-9/_.~-]*$"
DOOR_PATH = r"^/(?:[A-Za-z0-9/_.~-]*[A-Za-z0-9_.~-](?:/\*)?)?$"
HEALTH_PATH = r"^(?:/[A-Za-z0-9/_.~-]*)?$"
DAYS = r"^[1-9][0-9]{0,3}d$"
SECONDS = r"^[1-9][0-9]{0,3}s$"
OPTION = r"^[A-Za-z0-9/][A-Za-z0-9/_.:*+@,=-]*$"
_PLAIN = r"[A-Za-z0-9/_.:@?&=,+ -]*"
_FILE_LINE = rf"{_PLAIN}(?:\{{(?:user|password|name|host|port)\}}{_PLAIN})+"
FILE_TEXT = rf"^{_FILE_LINE}(?:\n{_FILE_LINE})*$"
DAYS_OR_NEVER = r"^(?:[1-9][0-9]{0,3}d|never)$"
ARGUMENT = rf"^/?{_SEGMENT}(?:/{_SEGMENT})*$"
AGE_KEY = r"age1[02-9ac-hj-np-z]{58}"
_ED25519_LINE = rf"ssh-ed25519[ \t]+AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{{43}}{_COMMENT}"
RECOVERY = rf"(?:{AGE_KEY}|{_ED25519_LINE})"
RECOVERY_KEY = rf"^(?:{RECOVERY}|(?:~/|/|\./)?(?:{_SEGMENT}/)*{_SEGMENT}\.pub)$"
CAPABILITY = r"^[0-9]{1,2}\.[0-9]$"
DIGEST = r"^[0-9a-f]{64}$"
LOG_FILE = r"^[a-z][a-z0-9_]{0,62}/[A-Za-z0-9_-]{1,60}(?:\.[A-Za-z0-9_-]{1,60}){0,3}$"
LOGIN = r"^[a-z][a-z0-9._-]{0,62}(?:@\{domain\})?$"
LAB_IMAGE = rf"^(?:build|pull|skipped: {_WORDS}|stand-in: {_WORDS})$"

MEANING = {
    NAME: "1 to 63 lower-case letters, digits and hyphens, no hyphen at an end",
    HUB_NAME: "1 to 32 lower-case letters, digits and hyphens; a letter first, no hyphen at the end",
    INSTANCE_ID: "STACK@GUEST, as the instance was first called",
    KEY: "lower-case letters, digits and _, a letter first, at most 63",
    NODE_NAME: "1 to 63 letters, digits and hyphens, no hyphen at an end: a node's name as Proxmox has it",
    CARD_NAME: "1 to 63 letters, digits, _ and hyphens, no hyphen at an end: a card's name as its mapping in Proxmox",
    DISK_NAME: "a disk as /dev/disk/by-id names it, like nvme-MAKER_MODEL_SERIAL",
    STORAGE_ID: "a storage id of Proxmox VE: letters, digits, . _ - and a letter first",
    DOMAIN: "a lower-case domain of at least two labels, like hub.home.arpa",
    OUTSIDE_HOST: "a lower-case host name like files.example.org, or *.example.org for all below it",
    MODEL_NAME: "lower-case letters, digits and . _ -",
    WEIGHTS: "a model as its engine names it, like qwen2.5:7b-instruct-q4_K_M",
    PCI_ID: "vendor:device as `lspci -nn` prints it, like 10de:2b85",
    HUB_ID: "16 hex digits",
    CAPABILITY: "a compute capability like 8.6",
    DIGEST: "64 hex digits, lower-case",
    SSH_KEY: "the path of a .pub file, or one public key line without options",
    RECOVERY_KEY: "an age key (age1...), an ssh-ed25519 line, or the path of a .pub file that holds one",
    ARGUMENT: "a plain word or path: letters, digits and / _ @ + . -, none of which climbs or looks like an option",
    SENTENCE: "one line of letters, digits and plain punctuation",
    COMMAND: "one line of printable ASCII without {{, {% or {#",
    HEALTH_PATH: "empty or an absolute path of letters, digits and / _ . ~ -",
    LOG_FILE: "VOLUME/FILE: a volume of `data` and the plain name of a file in it",
    LOGIN: "a user name of lower-case letters, digits and . _ -, or one @{domain}",
    DAYS: "a number of days like 90d",
    DAYS_OR_NEVER: "a number of days like 90d, or never",
    SECONDS: "a number of seconds like 30s",
    OPTION: "a plain word, path or address: letters, digits and / _ . : * + @ , = -",
    FILE_TEXT: "letters, digits and / _ . : @ ? & = , + -, in each line {user}, {password}, {name}, {host} or {port}",
    LAB_IMAGE: "build, pull, `stand-in: ` and what answers in its place, or `skipped: ` and the reason, in plain words",
    DOOR_PATH: "an absolute path of letters, digits and / _ . ~ -, with /* at its end for all below it",
    HTTP_PATH: "an absolute path of letters, digits and / _ . ~ -",
}

Name = Annotated[str, StringConstraints(pattern=NAME)]
"""A DNS label: guests, stacks, zones."""

NodeName = Annotated[str, StringConstraints(pattern=NODE_NAME)]
CardName = Annotated[str, StringConstraints(pattern=CARD_NAME)]

Key = Annotated[str, StringConstraints(pattern=KEY)]
"""The name of a secret, a database or a volume inside a stack."""

DiskName = Annotated[str, StringConstraints(pattern=DISK_NAME)]
StorageId = Annotated[str, StringConstraints(pattern=STORAGE_ID)]
OutsideHost = Annotated[str, StringConstraints(pattern=OUTSIDE_HOST, max_length=253)]
ModelName = Annotated[str, StringConstraints(pattern=MODEL_NAME)]
SshKey = Annotated[str, StringConstraints(pattern=SSH_KEY, max_length=2200)]
RecoveryKey = Annotated[str, StringConstraints(pattern=RECOVERY_KEY, max_length=400)]
Argument = Annotated[str, StringConstraints(pattern=ARGUMENT, max_length=200)]
DoorPath = Annotated[str, StringConstraints(pattern=DOOR_PATH, max_length=200)]
Sentence = Annotated[str, StringConstraints(pattern=SENTENCE, min_length=1, max_length=300)]
Option = Annotated[str, StringConstraints(pattern=OPTION, max_length=300)]
FileText = Annotated[str, StringConstraints(pattern=FILE_TEXT, max_length=1000)]
Command = Annotated[str, StringConstraints(pattern=COMMAND, max_length=2000)]

_SIZE = re.compile(r"([1-9][0-9]{0,6})(MiB|GiB|TiB)")


def parse_size(value: object) -> int:
    """Bytes of a size written as `16GiB`. Raises ValueError."""
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        return int(found[1]) * UNITS[found[2]]
    raise ValueError("a size is a whole number with MiB, GiB or TiB right behind it, like 16GiB")


def format_size(size: int) -> str:
    """The shortest exact writing of a size in bytes."""
    for unit, factor in reversed(UNITS.items()):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def parse_address(value: object) -> IPv4Address:
    """An IPv4 address in dotted form. Raises ValueError."""
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except AddressValueError as error:
        raise ValueError("an address is written like 10.10.10.11") from error


@dataclass(frozen=True)
class LanService:
    """A port of a host in the LAN; written ADDRESS:PORT, with /udp behind it where it is not TCP."""

    address: IPv4Address
    port: int
    protocol: Literal["tcp", "udp"] = "tcp"

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" + ("" if self.protocol == "tcp" else f"/{self.protocol}")


def parse_service(value: object) -> LanService:
    """A service of the LAN written as `192.168.1.20:445`. Raises ValueError."""
    if isinstance(value, LanService):
        return value
    if isinstance(value, str) and re.fullmatch(SERVICE, value):
        host, _, rest = value.partition(":")
        port, _, protocol = rest.partition("/")
        if int(port) <= 65535:
            return LanService(parse_address(host), int(port), "udp" if protocol == "udp" else "tcp")
    raise ValueError("a service of the LAN is written like 192.168.1.20:445, or 192.168.1.20:161/udp")


def parse_network(value: object) -> IPv4Network:
    """An IPv4 subnet as first address and prefix length. Raises ValueError."""
    if isinstance(value, IPv4Network):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"[0-9.]{7,15}/[0-9]{1,2}", value):
        raise ValueError("a subnet is written like 10.10.10.0/24")
    try:
        network = IPv4Network(value, strict=False)
    except ValueError as error:
        raise ValueError("a subnet is written like 10.10.10.0/24") from error
    if str(network) != value:
        raise ValueError(f"a subnet begins with its first address: write {network}")
    return network


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,6}(MiB|GiB|TiB)$"}),
]
Address = Annotated[
    IPv4Address,
    BeforeValidator(parse_address),
    WithJsonSchema({"type": "string", "pattern": DOTTED}),
]
Service = Annotated[
    LanService,
    BeforeValidator(parse_service),
    WithJsonSchema({"type": "string", "pattern": SERVICE}),
]
Subnet = Annotated[
    IPv4Network,
    BeforeValidator(parse_network),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]{7,15}/[0-9]{1,2}$"}),
]


@dataclass(frozen=True)
class NotYet:
    """Marks a key that the design has a word for and that nothing acts on: what is written there is refused.

    `values`: only these are; else all but the default, which says how it is. `why`: what is missing, and the way on.
    """

    why: str
    values: tuple[str, ...] = ()


class Strict(BaseModel):
    """Unknown keys and silent conversions are errors; instances never change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


def as_list(value: Any) -> Any:
    """One item written without brackets is a list of one."""
    return value if isinstance(value, list) else [value]
