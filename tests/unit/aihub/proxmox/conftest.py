"""A hub of three guests, and the same guests as Proxmox would have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aihub.model.resolved import Hub
from aihub.names import image_line
from aihub.proxmox.guests import desired as provision_desired
from aihub.proxmox.state import ActualGuest, ActualGuests
from aihub.reading import load

HUB_ID = "00112233445566ff"
FILE = f"""
hub: {{name: small, domain: small.home.arpa, id: {HUB_ID}}}
nodes:
  pve:
    address: 192.168.1.10
    storage: {{fast: {{use: local-zfs}}, bulk: {{use: tank}}}}
    gpus: {{card: {{id: "10de:2b85", vram: 32GiB}}}}
    lab: {{cores: 16, memory: 64GiB}}
zones:
  infra: {{subnet: 10.10.10.0/24, internet: outbound}}
  private: {{subnet: 10.10.20.0/24, internet: outbound}}
guests:
  db: {{vmid: 110, kind: lxc, zone: infra, address: 10.10.10.11, cores: 4, memory: 16GiB, disk: 64GiB}}
  cache: {{vmid: 111, kind: lxc, zone: infra, address: 10.10.10.12, cores: 2, memory: 4GiB, disk: 16GiB, storage: bulk}}
  ai: {{vmid: 201, kind: vm, zone: private, address: 10.10.20.11, cores: 8, memory: 16GiB, disk: 100GiB, gpu: card}}
"""


@pytest.fixture
def make_hub(tmp_path: Path) -> Callable[..., Hub]:
    """Loads the hub file, with texts in it replaced: make_hub({"16GiB": "8GiB"})."""

    def make(changes: dict[str, str] | None = None) -> Hub:
        text = FILE
        for old, new in (changes or {}).items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "hub.yml"
        path.write_text(text)
        return load.load(path, tmp_path / "stacks", target="lab")

    return make


@pytest.fixture
def hub(make_hub: Callable[..., Hub]) -> Hub:
    return make_hub()


def as_proxmox_has_it(hub: Hub, name: str) -> ActualGuest:
    """A guest right after its creation, written the way Proxmox rewrites what it is sent."""
    guest = hub.guests[name]
    want = provision_desired.wanted(hub, guest, ["ssh-ed25519 AAAA me"])
    config = dict(want.declared)
    size = f"size={guest.disk >> 30}G"
    if guest.kind == "lxc":
        address = f"{guest.address}/24"
        config["net0"] = f"name=eth0,bridge={guest.bridge},gw={guest.gateway},hwaddr={guest.mac},ip={address},type=veth"
        config |= {"rootfs": f"{guest.storage}:subvol-{guest.vmid}-disk-0,{size}", "arch": "amd64"}
        config |= {"ostype": "debian", "unprivileged": "1", "description": f"{want.marker}\n"}
    else:
        config |= {
            "scsi0": f"{guest.storage}:vm-{guest.vmid}-disk-0,{size}",
            "description": f"{want.marker}\n{image_line(guest.image)}",
        }
        config |= {"ide2": f"{guest.storage}:vm-{guest.vmid}-cloudinit,media=cdrom", "vmgenid": "x"}
        if guest.gpu:
            config |= {"efidisk0": f"{guest.storage}:vm-{guest.vmid}-disk-1,efitype=4m,pre-enrolled-keys=0,size=528K"}
        config |= {"meta": "creation-qemu=10.1.2,ctime=1", "smbios1": "uuid=1", "ciuser": "root"}
    config["tags"] = f"{guest.zone};aihub" if guest.zone < "aihub" else f"aihub;{guest.zone}"
    return ActualGuest(
        vmid=guest.vmid,
        kind=guest.kind,
        node="pve",
        name=name,
        status="running",
        pool="hub-small",
        tags=config["tags"],
        config=config,
        digest="d1",
    )


@pytest.fixture
def have(hub: Hub) -> Callable[..., ActualGuest]:
    """A guest as Proxmox has it, with some config keys changed (None removes one)."""

    def make(name: str, changes: dict[str, str | None] | None = None, /, **fields: object) -> ActualGuest:
        found = as_proxmox_has_it(hub, name)
        config = {**(found.config or {}), **(changes or {})}
        return replace(found, config={k: v for k, v in config.items() if v is not None}, **fields)

    return make


@pytest.fixture
def world(hub: Hub) -> Callable[..., ActualGuests]:
    """Everything as wanted, with guests replaced or (None) taken away by name."""

    def make(**guests: ActualGuest | None) -> ActualGuests:
        found = {name: as_proxmox_has_it(hub, name) for name in hub.guests} | guests
        return ActualGuests({g.vmid: g for g in found.values() if g})

    return make
