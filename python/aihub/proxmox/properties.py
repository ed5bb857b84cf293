"""Property strings, as Proxmox writes `net0` or `scsi1`: the one place that takes them apart and puts them together."""

from __future__ import annotations

import re
from collections.abc import Mapping

MODELS = frozenset({
    "virtio", "e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e", "i82551", "i82557b", "i82559er",
    "ne2k_isa", "ne2k_pci", "pcnet", "rtl8139", "vmxnet3",
})  # fmt: skip
# What a value without a name is, by the key without its number.
DEFAULTS = {
    "agent": "enabled", "cpu": "cputype", "dev": "path", "hostpci": "host", "machine": "type", "net": "model",
    "vga": "type",
    **dict.fromkeys(("efidisk", "rootfs", "mp", "unused", "scsi", "virtio", "sata", "ide"), "volume"),
}  # fmt: skip


def stem(key: str) -> str:
    """A key without its number: `net` of `net0`."""
    return key.rstrip("0123456789")


def parse(key: str, text: str) -> dict[str, str]:
    """The parts of a property string by name; those of a card of a VM are called `model` and `macaddr`."""
    kind = stem(key)
    found: dict[str, str] = {}
    for part in filter(None, text.strip().split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            found[DEFAULTS.get(kind, name)] = name
        elif kind == "net" and name in MODELS:
            found |= {"model": name, "macaddr": value}
        else:
            found["volume" if name == "file" else name] = value
    return found


def join(parts: Mapping[str, str | None]) -> str:
    """A property string of named parts, as Proxmox prints it; a part that is None is left out."""
    rest = {name: value for name, value in parts.items() if value is not None}
    model, mac = rest.pop("model", None), rest.pop("macaddr", None)
    first = [] if model is None else [f"{model}={mac}" if mac else model]
    return ",".join([*first, *(f"{name}={value}" for name, value in rest.items())])


def cards(config: Mapping[str, str]) -> list[dict[str, str]]:
    """The parts of every `netN` and `ipconfigN` of a config."""
    return [parse(key, value) for key, value in config.items() if re.fullmatch(r"(net|ipconfig)\d+", key)]


def addresses(config: Mapping[str, str]) -> frozenset[str]:
    """The IPv4 addresses without prefix length that a config gives its guest."""
    found = (card.get("ip", "") for card in cards(config))
    return frozenset(text.partition("/")[0] for text in found if "/" in text)


def macs(config: Mapping[str, str]) -> frozenset[str]:
    """The addresses of a guest's network cards, in capitals."""
    found = (card.get(name, "") for card in cards(config) for name in ("macaddr", "hwaddr"))
    return frozenset(mac.upper() for mac in found if mac)
