"""What each guest's Proxmox config should be, in Proxmox's own spelling; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from aihub.model.resolved import Guest, Hub
from aihub.names import TAG, Marker, pool
from aihub.proxmox.properties import join

IMAGES = {
    "lxc": "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst",
    "vm": "local:import/debian-13-genericcloud-amd64.qcow2",
}
"""The volumes that guests are made from, by kind; the same in the lab and on pve."""
MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Wanted:
    """One guest as it should be.

    `config` holds the keys that are ours to keep right; `root_only` those that Proxmox takes from nobody but root,
    which win where both have one; `initial` what matters at creation only. `bridges` are those that the token may
    use. What belongs to whom beside that: owned.py.
    """

    guest: Guest
    marker: Marker
    config: Mapping[str, str]
    initial: Mapping[str, Any]
    bridges: frozenset[str]
    root_only: Mapping[str, str] = field(default_factory=dict)

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
        return {**config, **self.initial, "vmid": self.guest.vmid, "description": str(self.marker)}


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
    return Wanted(guest, marker, config, {**initial, "pool": pool(hub.name)}, bridges)


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
        "ostemplate": IMAGES["lxc"],
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
    }
    # Login name and keys belong to cloud-init's first boot: changed later, they make it take the guest for a
    # new one and replace its host keys. Keys of people are kept right inside the guest.
    initial = {
        "scsi0": f"{guest.storage}:0,import-from={IMAGES['vm']}",
        "ide2": f"{guest.storage}:cloudinit",
        "ciuser": "root",
        "ciupgrade": 0,  # a zone without internet would wait for mirrors at its first boot
        "sshkeys": quote(keys, safe=""),
    }
    return config, initial


def _cidr(guest: Guest) -> str:
    return f"{guest.address}/{guest.subnet.prefixlen}"


def _tag(guest: Guest) -> str | None:
    return str(guest.vlan) if guest.vlan else None


def _gib(size: int) -> str:
    """Gibibytes as PVE reads them in STORAGE:SIZE, exact for every whole MiB."""
    return str(size // GIB) if size % GIB == 0 else f"{size / GIB:.10f}".rstrip("0")
