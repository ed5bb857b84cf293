"""What of a guest's config belongs to hub.yml, who may write it, and what a change of it means; tables, pure.

Ours are the keys that hub.yml sets, and every key that gives a guest hardware or reach: one that nobody declared must
not be there. Everything else (a comment, a rate limit, firmware, a start order) belongs to whoever set it. What only a
line written into the file on the node can do (`lxc.*`) is shown by no part of the API and is not seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from aihub.model.resolved import Guest
from aihub.plan import Change
from aihub.proxmox.properties import parse, stem

Writer = Literal["token", "root@node"]

# Hardware and reach, by key without its number.
GIVES = {
    "lxc": frozenset({"net", "mp", "dev"}),
    "vm": frozenset({
        "net", "ipconfig", "scsi", "virtio", "sata", "ide", "hostpci", "usb", "serial", "parallel", "virtiofs",
        "args", "vcpus",
    }),
}  # fmt: skip
# What a VM with a card must be: PCI Express, firmware that places a large card's memory, a console that is no display
# of the card's, and all of its memory from the start. Without a card they belong to whoever set them.
FOR_CARDS = frozenset({"bios", "machine", "vga", "balloon", "efidisk"})
VOLUMES = frozenset({"mp", "scsi", "virtio", "sata", "ide"})
# Parts of a property string that are ours when we want the key at all: one more changes what the guest can
# reach. Every other part (a rate limit, the firewall switch) is left as it is.
PARTS = {
    "net0": frozenset({
        "model", "macaddr", "name", "bridge", "hwaddr", "ip", "gw", "ip6", "gw6", "type", "tag", "link_down", "trunks",
    }),
    "ipconfig0": frozenset({"ip", "gw", "ip6", "gw6"}),
    "features": frozenset({"nesting"}),
    "agent": frozenset({"enabled"}),
    "hostpci0": frozenset({"host", "mapping", "pcie", "mdev"}),
}  # fmt: skip
# Keys that a running guest takes only at its next start; what is pending after the write decides.
AT_RESTART = {
    "lxc": frozenset({"features", "nameserver", "searchdomain", "mp", "dev"}),
    "vm": frozenset({
        "cores", "sockets", "cpu", "memory", "ipconfig", "nameserver", "searchdomain", "agent", "ostype", "scsihw",
        "serial", "boot", "name", "sata", "ide", "hostpci", "parallel", "virtiofs", "args", "vcpus", *FOR_CARDS,
    }),
}  # fmt: skip
# Proxmox takes a VM's address at once and shows nothing pending, while the guest learns it at its next boot; so does a
# container of device nodes, of which its services ask when they start.
AT_BOOT = {"lxc": frozenset({"dev"}), "vm": frozenset({"ipconfig"})}
# A VM whose cloud-init settings change takes itself for a new one at its next boot and makes new host keys. Its name is
# one of them and is in force at once, so the boot comes now, while a new key is expected.
NEW_HOST_KEYS = AT_BOOT["vm"] | {"nameserver", "searchdomain", "name"}
# What is passed through from the node is root's to give and to take.
ROOTS = frozenset({"dev", "hostpci", "usb", "parallel", "virtiofs", "args"})


def gives(guest: Guest, key: str) -> bool:
    """Whether a key gives a guest hardware or reach that is ours to judge."""
    return stem(key) in GIVES[guest.kind]


def mappings(config: Mapping[str, str]) -> frozenset[str]:
    """The PCI mappings that a VM's config names."""
    found = (parse(key, value).get("mapping", "") for key, value in config.items() if stem(key) == "hostpci")
    return frozenset(filter(None, found))


def shares_card(config: Mapping[str, str]) -> bool:
    """Whether a container's config gives it device nodes of its node's NVIDIA driver."""
    paths = (parse(key, value).get("path", "") for key, value in config.items() if stem(key) == "dev")
    return any(path.startswith("/dev/nvidia") for path in paths)


def slots(config: Mapping[str, str]) -> frozenset[str]:
    """The PCI devices of the node that a VM's config names by where they are, each as DOMAIN:BUS:DEVICE."""
    hosts = (parse(key, value).get("host", "") for key, value in config.items() if stem(key) == "hostpci")
    found = (one.partition(".")[0] for text in hosts for one in text.split(";") if one)
    return frozenset(one if one.count(":") == 2 else f"0000:{one}" for one in found)


def gives_up_card(change: Change) -> bool:
    """Whether a guest has another card afterwards, or none."""
    return any(stem(d.field.partition(".")[0]) == "hostpci" and d.actual is not None for d in change.differences)


def keeps_data(key: str, value: str) -> bool:
    """Whether a key holds a volume that is lost when it is removed: no folder of the node, no CD."""
    parts = parse(key, value)
    volume = parts.get("volume", "")
    kept = ":" in volume and not volume.startswith("/") and parts.get("media") != "cdrom"
    return stem(key) in VOLUMES | {"unused"} and kept


def restarts(kind: str, keys: Collection[str]) -> bool:
    """Whether a running guest takes a change of one of these keys only at its next start."""
    return any(stem(key) in AT_RESTART[kind] for key in keys)


def writer(
    guest: Guest, bridges: Collection[str], key: str, present: str | None, cards: Collection[str] = ()
) -> Writer:
    """Who may change a key that holds this now: the token only within the hub's own bridges, `cards` and hardware."""
    if present is None:
        return "token"
    kind = stem(key)
    if kind == "net":
        card = parse(key, present)
        tag = str(guest.vlan) if guest.vlan else None
        ours = card.get("bridge") in bridges and card.get("tag") == tag and "trunks" not in card
        return "token" if ours else "root@node"
    if kind == "hostpci":
        return "token" if mappings({key: present}) & frozenset(cards) and not slots({key: present}) else "root@node"
    real = kind == "serial" and present != "socket"
    return "root@node" if kind in ROOTS or real else "token"
