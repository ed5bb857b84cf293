"""The lab as a target: an embedded Proxmox with a real node and real guests, driven through pvelab's own commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from aihub import process
from aihub.errors import InvalidInput, PreconditionFailed, TaskFailed
from aihub.model.resolved import Hub
from aihub.state.directory import State

PVELAB = str(Path(sys.executable).parent / "pvelab")
LXC_TEMPLATE = "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"
VM_IMAGE = "local:import/debian-13-genericcloud-amd64.qcow2"
REGISTRY_NAMES = ("registry-1.docker.io", "ghcr.io", "quay.io", "registry.ollama.ai")
SUITE = "trixie"
DISK = 4 << 40
"""What a storage of the lab holds where hub.yml does not say."""


@dataclass(frozen=True)
class World:
    """A running lab, as `pvelab status` tells it."""

    name: str
    netns: str
    api_host: str
    api_port: int
    certificate: Path
    node_address: str
    node_host_key: str
    registry_address: str = ""
    registry_names: tuple[str, ...] = ()
    registry_ca: str = ""
    factor: float = 1
    why: str = ""
    simulated: tuple[str, ...] = field(default_factory=tuple)


def configuration(hub: Hub, root_key: str) -> dict[str, Any]:
    """What `pvelab up` is asked for: the node that hub.yml describes."""
    if len(hub.nodes) != 1:
        raise InvalidInput("the lab has one node, the hub file names several", hint="rehearse with one node")
    ((name, node),) = hub.nodes.items()
    cores = node.lab.cores if node.lab else max(g.cores for g in hub.guests.values())
    memory = node.lab.memory if node.lab else sum(g.memory for g in hub.guests.values())
    declared = node.lab.disk if node.lab else {}
    pools: dict[str, int] = {}
    for key, use in node.storage.items():
        pools[use.use] = declared.get(key, pools.get(use.use, DISK))
    storages = [{"id": "local", "type": "dir", "content": "iso,vztmpl,backup,import,snippets", "size": 200 << 30}]
    storages += [
        {"id": pool, "type": "zfspool", "content": "images,rootdir", "size": size}
        for pool, size in sorted(pools.items())
        if pool != "local"
    ]
    return {
        "node": {
            "name": name,
            "address": str(node.address),
            "subnet": str(IPv4Network(f"{node.address}/24", strict=False)),
            "cores": cores,
            "memory": memory,
        },
        "storages": storages,
        "gpus": [{"name": label, "id": card.id} for label, card in node.gpus.items()],
        "root_key": root_key,
        "registry_names": list(REGISTRY_NAMES),
        "subnets": [str(zone.subnet) for zone in hub.zones.values()],
    }


def _pvelab(*arguments: str, timeout: float = 900, check: bool = True) -> process.Result:
    return process.run([PVELAB, *arguments], timeout=timeout, check=check)


def _world(text: bytes) -> World:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise TaskFailed(f"pvelab answered something that is not JSON: {text[:200]!r}") from error
    registry = found.get("registry") or {}
    factor = found.get("scale") or {}
    return World(
        name=found["name"],
        netns=found["netns"],
        api_host=found["api"]["host"],
        api_port=int(found["api"]["port"]),
        certificate=Path(found["api"]["certificate"]),
        node_address=found["node"]["address"],
        node_host_key=found["node"]["host_key"],
        registry_address=registry.get("address", ""),
        registry_names=tuple(registry.get("names", ())),
        registry_ca=registry.get("ca", ""),
        factor=float(factor.get("factor", 1)),
        why=str(factor.get("why", "")),
        simulated=tuple(found.get("simulated", ())),
    )


def up(hub: Hub, state: State, name: str, root_key: str) -> World:
    """Makes the lab run: namespace, API, node. Idempotent; raises PreconditionFailed without root."""
    if os.geteuid() != 0:
        raise PreconditionFailed("the lab makes containers and network namespaces: it needs root", hint="sudo make up")
    state.make()
    request = state.directory / "lab.json"
    request.write_text(json.dumps(configuration(hub, root_key), indent=1))
    return _world(_pvelab("up", name, "--config", str(request)).stdout)


def world(name: str) -> World | None:
    """The running lab of that name; None when there is none."""
    if os.geteuid() != 0:
        raise PreconditionFailed("looking into the lab needs root")
    result = _pvelab("status", name, check=False, timeout=60)
    if result.returncode != 0:
        return None
    found = json.loads(result.stdout)
    return _world(result.stdout) if found.get("running", True) and found.get("api") else None


def templates(name: str, packages: list[str], say: Callable[[str], None]) -> None:
    """Makes the OS images that guests are created from, with the roles' packages baked in."""
    arguments = [item for package in packages for item in ("--package", package)]
    for volume in (LXC_TEMPLATE, VM_IMAGE):
        say(f"OS image {volume}")
        _pvelab("template", name, "--volume", volume, "--suite", SUITE, *arguments, timeout=1200)


def down(name: str, purge: bool = True) -> None:
    """Removes the lab: containers, mounts, namespace, processes, and with `purge` its state."""
    _pvelab("down", name, *(["--purge"] if purge else []), timeout=300)
