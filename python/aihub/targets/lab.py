"""The lab as a target: an embedded Proxmox with a real node and real guests, driven through pvelab's own commands."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from aihub import node, process, render, ssh
from aihub.errors import PreconditionFailed, TaskFailed
from aihub.model.catalogue import CATALOGUE
from aihub.model.resolved import Guest, Hub, Instance
from aihub.model.target import LAB
from aihub.names import is_public
from aihub.plan import Plan
from aihub.proxmox.guests.desired import source_of
from aihub.screen import Screen
from aihub.state import statefile
from aihub.state.directory import State

from . import Images, images
from .background import Background, Progress
from .images_builder import PVELAB, Taken

REGISTRY_NAMES = ("registry-1.docker.io", "ghcr.io", "quay.io")
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
    package_hosts: tuple[str, ...] = ()
    package_addresses: tuple[str, ...] = ()
    factor: float = 1
    why: str = ""
    simulated: tuple[str, ...] = field(default_factory=tuple)


def configuration(hub: Hub, root_key: str) -> dict[str, Any]:
    """What `pvelab up` is asked for: the node that hub.yml describes."""
    if len(hub.nodes) != 1:
        raise PreconditionFailed("the lab has one node, the hub file names several", hint="rehearse with one node")
    ((name, node),) = hub.nodes.items()
    cores = node.lab.cores if node.lab else max(g.cores for g in hub.guests.values())
    memory = node.lab.memory if node.lab else sum(g.memory for g in hub.guests.values())
    declared = node.lab.disk if node.lab else {}
    pools: dict[str, int] = {}
    made = {use.use for use in node.storage.values() if use.create}
    for key, use in node.storage.items():
        pools[use.use] = declared.get(key, pools.get(use.use, DISK))
    storages = [{"id": "local", "type": "dir", "content": "iso,vztmpl,backup,import,snippets", "size": 200 << 30}]
    storages += [
        {"id": pool, "type": "zfspool", "content": "images,rootdir", "size": size, "later": pool in made}
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
        "gpus": [{"name": label, "id": card.id, "memory": card.vram >> 20} for label, card in node.gpus.items()],
        "root_key": root_key,
        "registry_names": list(dict.fromkeys((*REGISTRY_NAMES, *images.model_registries(), *images.registries(hub)))),
        "builder": True,
        "subnets": [str(zone.subnet) for zone in hub.zones.values()],
        "least": {str(guest.vmid): hub.least_memory(name) for name, guest in hub.guests.items()},
    }


def _pvelab(*arguments: str, timeout: float = 900, check: bool = True) -> process.Result:
    # Killed half-way it would leave half a lab. It works under a lock of its own, for which the next run waits.
    return process.run([PVELAB, *arguments], timeout=timeout, check=check, lasting=True)


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
        package_hosts=tuple(found.get("package_hosts", ())),
        package_addresses=tuple(found.get("package_addresses", ())),
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


def templates(name: str, volumes: Collection[str], packages: list[str], progress: Progress) -> None:
    """Makes OS images that guests are created from, with the roles' packages baked in. Raises TaskFailed."""
    arguments = [item for package in packages for item in ("--package", package)]
    arguments += [item for unit in (render.masked() if packages else ()) for item in ("--mask", unit)]
    for volume in volumes:
        progress(volume, "is being made")
        try:
            done = _pvelab("template", name, "--volume", volume, "--suite", SUITE, *arguments, timeout=3600)
        except TaskFailed as error:
            progress(volume, "could not be made")
            raise TaskFailed(error.what, where=volume, hint="make up") from error
        progress(volume, str(Taken.of(json.loads(done.stdout))))


def down(name: str, purge: bool = True) -> None:
    """Removes the lab: containers, mounts, namespace, processes, and with `purge` its state."""
    _pvelab("down", name, *(["--purge"] if purge else []), timeout=300)


class Lab:
    """One lab by its name, as a target."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.world: World | None = None

    @property
    def title(self) -> str:
        """By its name."""
        return f"the lab {self.name}"

    def is_of(self, hub: str) -> bool:
        """One hub fills a lab while that runs."""
        return os.geteuid() == 0 and world(self.name) is not None

    @property
    def names(self) -> Mapping[str, str]:
        """The registries' names lead to the lab's own."""
        if self.world is None or not self.world.registry_address:
            return {}
        return dict.fromkeys(self.world.registry_names, self.world.registry_address)

    def package_hosts(self, hub: Hub) -> tuple[str, ...]:
        """Those of the machine that bakes its images; nothing while there is no lab to ask."""
        if self.world is None and os.geteuid() == 0:
            self.world = world(self.name)
        return (self.world.package_hosts or (CATALOGUE["debian-13"].package_hosts,)) if self.world else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is simulated, how far the guests are scaled down, and what counts as internet."""
        if self.world is None:
            return ()
        also = f"zones with internet also reach {', '.join(self.outside)}: registry and package sources of this machine"
        found = (*self.world.simulated, self.world.why, *([also] if self.outside else ()))
        return tuple(f"lab: {note}" for note in found)

    @property
    def outside(self) -> tuple[str, ...]:
        """The lab's registry, and the machine's package sources where those are no public hosts."""
        if self.world is None:
            return ()
        mirrors = [address for address in self.world.package_addresses if not is_public(address)]
        registry = [self.world.registry_address] if self.world.registry_address else []
        return tuple(dict.fromkeys([*registry, *mirrors]))

    def built(self, hub: Hub) -> Mapping[str, str]:
        """The images of the lab's registry."""
        return images.built(hub)

    def require_place(self, hub: Hub) -> None:
        """Raises PreconditionFailed for another address of the lab's node than it was made with."""
        address = ssh.node_address(hub)
        if self.world is not None and self.world.node_address != address:
            raise PreconditionFailed(
                f"the node of the lab {self.name} is at {self.world.node_address}, hub.yml says {address}: "
                "a lab's node keeps the address that it was made with",
                hint=f"put {self.world.node_address} back, or begin anew: aihub down, then aihub up",
            )

    def make(self, hub: Hub, state: State, screen: Screen) -> None:
        """The lab runs, and is trusted."""
        self.world = world(self.name)
        self.require_place(hub)
        with screen.progress(f"lab {self.name}") as progress:
            progress("lab", "network, API and node come up")
            self.world = up(hub, state, self.name, ssh.ensure_key(state))
        self._trust(hub, state, self.world)

    def find(self, hub: Hub, state: State) -> None:
        """The running lab is trusted. Raises PreconditionFailed when there is none."""
        self.world = world(self.name)
        if self.world is None:
            raise PreconditionFailed(f"the lab {self.name} does not run", hint="aihub up")
        self._trust(hub, state, self.world)
        ssh.relocate(state, {ssh.NODE: self.world.node_address})

    def _trust(self, hub: Hub, state: State, found: World) -> None:
        state.make()
        if found.registry_ca:
            statefile.keep(state.directory / render.LAB_CA, Path(found.registry_ca).read_bytes())
        node.trust_lab(hub, state, netns=found.netns, host_key=found.node_host_key, certificate=found.certificate)

    def api(self, hub: Hub) -> tuple[str, int]:
        """Where the emulated API answers. Raises PreconditionFailed when the lab does not run."""
        if self.world is None:
            raise PreconditionFailed(f"the lab {self.name} does not run", hint="aihub up")
        return self.world.api_host, self.world.api_port

    def require(self, hub: Hub) -> None:
        """Raises PreconditionFailed for images that the lab can't have."""
        images.check(hub)

    def prepare(self, hub: Hub, agreed: Plan, screen: Screen, stack: ExitStack, *, stock: bool) -> Images:
        """OS images and stack images are made beside the next steps."""
        progress = stack.enter_context(screen.progress("images"))
        systems, stacks = None, None
        if any(c.action == "create" for c in agreed.of("guests")):
            packages = [] if stock else render.packages()
            volumes = dict.fromkeys(source_of(guest).volume for guest in hub.guests.values())
            job = Background("OS images", lambda: templates(self.name, volumes, packages, progress), progress)
            systems = stack.enter_context(job)
        if agreed.of("insides", "services", "secrets", "vault"):
            stacks = stack.enter_context(images.Builds(self.name, hub, progress))
        return _Making(systems, stacks)

    def remove(self, state: State, screen: Screen) -> None:
        """Everything that the lab made, and our state of it: nothing outlives a rehearsal."""
        with screen.progress(f"lab {self.name}") as progress:
            progress("lab", "is removed")
            down(self.name)
            shutil.rmtree(state.control, ignore_errors=True)
            shutil.rmtree(state.directory)

    def stand_in(self, guest: Guest) -> str:
        """A container behaves as a VM does, Debian as every image, and both say so."""
        system = LAB.system_of(guest.image)
        found = ["a container stands in for the VM"] if guest.kind == "vm" else []
        return " ".join([*found, f"(lab: {system})"] if system else found)

    def labels(self, hub: Hub) -> Mapping[str, str]:
        """The small model that answers under each declared name, and the programs and systems that stand in."""
        systems = {f"{CATALOGUE[g.image].title} on {g.name}": LAB.system_of(g.image) for g in hub.guests.values()}
        made = [use.use for node in hub.nodes.values() for use in node.storage.values() if use.create]
        return {
            **images.labels(hub),
            **{name: system for name, system in systems.items() if system},
            **{f"the ZFS pool of storage {name}": "a figure of the API" for name in made},
        }


@dataclass(frozen=True)
class _Making:
    """Images that are being made."""

    systems: Background | None
    stacks: images.Builds | None

    def await_systems(self) -> None:
        """The OS images are there."""
        if self.systems:
            self.systems.join()

    def await_stacks(self, instances: Collection[Instance]) -> None:
        """The lab's registry has what these instances run."""
        if self.stacks:
            self.stacks.wait(instances)

    def await_models(self, instances: Collection[Instance]) -> None:
        """The lab's registry has what these instances serve."""
        if self.stacks:
            self.stacks.wait_for_models(instances)
