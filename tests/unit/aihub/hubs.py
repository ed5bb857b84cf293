"""A small resolved hub, made without reading files."""

from __future__ import annotations

from ipaddress import IPv4Address

from aihub.model.hub import HubFile
from aihub.model.resolved import Flow, Guest, Hub
from aihub.model.target import LAB, Target

FILE = {
    "hub": {"name": "my-hub", "domain": "hub.home.arpa", "id": "0123456789abcdef"},
    "nodes": {
        "pve": {
            "address": "192.168.1.10",
            "storage": {"fast": {"use": "local-zfs"}, "bulk": {"use": "tank"}},
            "gpus": {"rtx5090": {"id": "10de:2b85", "vram": "32GiB"}},
        }
    },
    "zones": {
        "infra": {"subnet": "10.10.10.0/24", "internet": "outbound"},
        "private": {"subnet": "10.10.20.0/24", "internet": "none"},
    },
}


def small(target: Target = LAB, **changes: object) -> Hub:
    """A hub of two guests; `changes` replace sections of the file."""
    file = HubFile.model_validate({**FILE, **changes})
    guests = {
        "db": _guest(file, "db", 110, "infra", "10.10.10.11", None),
        "private-ai": _guest(file, "private-ai", 201, "private", "10.10.20.11", "rtx5090"),
    }
    flows = (Flow("10.10.20.11/32", "10.10.10.11", 5432, why="postgres@db for chroma@private-ai"),)
    return Hub(file, "hub.yml", {}, "0123456789abcdef", guests, (), flows, (), (), target)


def _guest(file: HubFile, name: str, vmid: int, zone: str, address: str, gpu: str | None) -> Guest:
    spec = next(z for n, z in file.zones.items() if n == zone)
    return Guest(
        name=name,
        id=name,
        vmid=vmid,
        kind="vm" if gpu else "lxc",
        zone=zone,
        node="pve",
        address=IPv4Address(address),
        subnet=spec.subnet,
        gateway=next(spec.subnet.hosts()),
        bridge=f"hub{zone}",
        mac=f"BC:24:11:00:00:{vmid:02X}",
        fqdn=f"{name}.hub.home.arpa",
        cores=2,
        memory=1 << 30,
        disk=8 << 30,
        storage="local-zfs",
        gpu=gpu,
        internet=spec.internet == "outbound",
        stacks=(),
    )
