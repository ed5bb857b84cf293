"""What each guest's Proxmox config should be, in Proxmox's own spelling; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from aihub.model.catalogue import CATALOGUE, Source
from aihub.model.resolved import Guest, Hub
from aihub.names import CARD_NODES, TAG, Marker, guard_volume, image_line, pool
from aihub.proxmox.properties import join

GUARD = "hookscript"
FIRMWARE_DISK = "efidisk0"
MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Wanted:
    """One guest as it should be.

    `config` holds the keys that are ours to keep right; `root_only` those that Proxmox takes from nobody but root,
    which win where both have one; `initial` what matters at creation only. `bridges` and `cards` are those that the
    token may use. What belongs to whom beside that: owned.py.
    """

    guest: Guest
    marker: Marker
    config: Mapping[str, str]
    initial: Mapping[str, Any]
    bridges: frozenset[str]
    cards: frozenset[str] = frozenset()
    root_only: Mapping[str, str] = field(default_factory=dict)
    passing: Mapping[str, str] = field(default_factory=dict)  # what is ours to take away where it is not wanted

    @property
    def declared(self) -> dict[str, str]:
        """Every key that is to be kept right, whoever writes it."""
        return {**self.config, **self.root_only}

    @property
    def disk(self) -> str:
        """The config key of the guest's disk."""
        return disk_key(self.guest.kind)

    def create(self) -> dict[str, Any]:
        """Every parameter of the create call.

        Without tags: Proxmox asks for the right to set them before the guest is in the pool that gives it.
        """
        config = {k: v for k, v in self.config.items() if k != "tags"}
        description = f"{self.marker}\n{image_line(self.guest.image)}"
        return {**config, **self.initial, "vmid": self.guest.vmid, "description": description}


def source_of(guest: Guest) -> Source:
    """The image that a guest is made from."""
    return CATALOGUE[guest.image].sources[guest.kind]


def disk_key(kind: str) -> str:
    """The config key of a guest's disk."""
    return "rootfs" if kind == "lxc" else "scsi0"


def wanted(hub: Hub, guest: Guest, keys: Sequence[str]) -> Wanted:
    """One guest as hub.yml wants it; `keys` are the public keys that may log in from the first moment."""
    marker = Marker(hub.id, guest.vmid, guest.id)
    make = _container if guest.kind == "lxc" else _machine
    config, initial = make(guest, "\n".join(keys) + "\n")
    config["tags"] = f"{TAG};{guest.zone}"
    config["nameserver"] = str(guest.gateway)
    config["searchdomain"] = hub.domain
    bridges = frozenset(hub.bridge(zone) for zone in hub.zones)
    cards = frozenset(card for node in hub.nodes.values() for card in node.gpus)
    guarded = {GUARD: guard_volume(hub.name)}
    initial |= {"pool": pool(hub.name)}
    roots = _shared_card() if guest.kind == "lxc" else guarded
    return Wanted(guest, marker, config, initial, bridges, cards, roots if guest.gpu else {}, guarded)


def _shared_card() -> dict[str, str]:
    """The device nodes of its node's driver; whoever asks in the container may use them, as on the node."""
    return {f"dev{number}": f"{path},mode=0666" for number, path in enumerate(CARD_NODES)}


def _container(guest: Guest, keys: str) -> tuple[dict[str, str], dict[str, Any]]:
    config = {
        "hostname": guest.name,
        "cores": str(guest.cores),
        "memory": str(guest.memory // MIB),
        "swap": "0",
        "net0": join(
            {
                "name": "eth0",
                "bridge": guest.bridge,
                "gw": str(guest.gateway),
                "hwaddr": guest.mac,
                "ip": _cidr(guest),
                "tag": _tag(guest),
                "type": "veth",
            }
        ),
        "features": join({"nesting": "1"}),  # Docker needs it
        "onboot": "1",
    }
    initial = {
        "ostemplate": source_of(guest).volume,
        "rootfs": f"{guest.storage}:{_gib(guest.disk)}",
        "unprivileged": 1,
        "ssh-public-keys": keys,
    }
    return config, initial


def _machine(guest: Guest, keys: str) -> tuple[dict[str, str], dict[str, Any]]:
    config = {
        "name": guest.name,
        "cores": str(guest.cores),
        "sockets": "1",
        "cpu": "host",
        "memory": str(guest.memory // MIB),
        "net0": join({"model": "virtio", "macaddr": guest.mac, "bridge": guest.bridge, "tag": _tag(guest)}),
        "ipconfig0": join({"ip": _cidr(guest), "gw": str(guest.gateway)}),
        "agent": "enabled=1",
        "ostype": "l26",
        "scsihw": "virtio-scsi-single",
        "serial0": "socket",
        "boot": "order=scsi0",
        "onboot": "1",
        **(_with_card(guest.gpu) if guest.gpu else {}),
    }
    # Login name and keys belong to cloud-init's first boot: changed later, they make it take the guest for a
    # new one and replace its host keys. Keys of people are kept right inside the guest.
    initial = {
        "scsi0": f"{guest.storage}:0,import-from={source_of(guest).volume}",
        "ide2": f"{guest.storage}:cloudinit",
        "ciuser": "root",
        "ciupgrade": 0,  # a zone without internet would wait for mirrors at its first boot
        "sshkeys": quote(keys, safe=""),
        **({FIRMWARE_DISK: firmware_disk(guest)} if guest.gpu else {}),
    }
    return config, initial


def start_time(guest: Guest) -> float:
    """Seconds that Proxmox itself waits for a start: with a card all memory is taken first, four times as long."""
    mib = guest.memory // MIB
    least = 30.0 if mib <= 30_720 else mib / 1024
    return least * (4 if guest.gpu and guest.kind == "vm" else 1) + 5


def _with_card(card: str) -> dict[str, str]:
    """What a card needs of its VM, and the card itself, through the mapping of its name.

    The memory of a card of 32 GiB finds its place only with this firmware and the processor's own address width. The
    card is no display: the console is the serial one.
    """
    return {
        "bios": "ovmf",
        "machine": "q35",
        "balloon": "0",
        "vga": "serial0",
        "hostpci0": join({"mapping": card, "pcie": "1"}),
    }


def firmware_disk(guest: Guest) -> str:
    """The disk that keeps what the firmware knows; with Microsoft's keys in it no driver built on the guest loads."""
    return f"{guest.storage}:1,efitype=4m,pre-enrolled-keys=0"


def _cidr(guest: Guest) -> str:
    return f"{guest.address}/{guest.subnet.prefixlen}"


def _tag(guest: Guest) -> str | None:
    return str(guest.vlan) if guest.vlan else None


def _gib(size: int) -> str:
    """Gibibytes as PVE reads them in STORAGE:SIZE, exact for every whole MiB."""
    return str(size // GIB) if size % GIB == 0 else f"{size / GIB:.10f}".rstrip("0")
