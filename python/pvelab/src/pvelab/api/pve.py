"""One emulated Proxmox VE: its node, its state on disk, its guests and what runs them."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..backend import Backend, GuestSpec, Interface, RunState
from .auth import Auth
from .errors import failure, refuse_if
from .faults import Faults
from .guestconf import GuestConf, Guests
from .pci import Device, of_card, passed
from .rows import Rows
from .store import Document
from .tasks import Tasks
from .usercfg import UserConfig

ALL_CONTENT = "backup,images,import,iso,rootdir,snippets,vztmpl"
LOCK_WAIT = 10.0
GIB = 1 << 30


@dataclass(frozen=True)
class StorageSpec:
    """A storage that the node is born with."""

    id: str
    type: str = "dir"
    content: str = ALL_CONTENT
    size: int = 500 * GIB
    later: bool = False  # defined by a caller, and of this size then


@dataclass(frozen=True)
class Gpu:
    """A PCI card that the node reports; `id` is VENDOR:DEVICE."""

    name: str
    id: str
    memory: int = 0  # in MiB; of some cards it is known by their id


@dataclass(frozen=True)
class NodeInfo:
    """What the node reports of itself."""

    name: str = "pve"
    address: str = "192.168.1.10"
    subnet: str = "192.168.1.0/24"
    gateway: str = ""
    cores: int = 8
    memory: int = 32 * GIB
    disk: int = 500 * GIB
    storages: tuple[StorageSpec, ...] = (StorageSpec("local"),)
    gpus: tuple[Gpu, ...] = ()
    pci: tuple[Device, ...] = ()  # all that is on the bus; without it, what a card needs

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices on the PCI bus."""
        every = (of_card(number, gpu.name, gpu.id, gpu.memory) for number, gpu in enumerate(self.gpus, 1))
        return self.pci or tuple(device for both in every for device in both)

    @classmethod
    def check_config(cls, config: dict[str, Any]) -> None:
        """Raises ValueError for an option that a node, a storage or a card does not have."""
        for part, kind in (("node", cls), ("storages", StorageSpec), ("gpus", Gpu)):
            found = config.get(part, [])
            for item in [found] if isinstance(found, dict) else found:
                if unknown := sorted(item.keys() - kind.__dataclass_fields__.keys()):
                    raise ValueError(f"{part} has no option {', '.join(unknown)}")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NodeInfo:
        """Reads the `node`, `storages`, `gpus` and `pci` parts of a lab's configuration."""
        node = {k: v for k, v in config.get("node", {}).items() if k in cls.__dataclass_fields__}
        fields = StorageSpec.__dataclass_fields__
        storages = tuple(
            StorageSpec(**{k: v for k, v in item.items() if k in fields and v is not None})
            for item in config.get("storages", [])
        )
        gpus = tuple(Gpu(item["name"], item["id"], int(item.get("memory", 0))) for item in config.get("gpus", []))
        pci = tuple(Device.parse(item) for item in config.get("pci", []))
        return cls(**{**node, "gpus": gpus, "pci": pci, **({"storages": storages} if storages else {})})


def initial_storages(node: NodeInfo) -> dict[str, dict[str, Any]]:
    """storage.cfg of a fresh node."""
    found: dict[str, dict[str, Any]] = {}
    for item in (one for one in node.storages if not one.later):
        entry: dict[str, Any] = {"type": item.type, "content": item.content}
        if item.type == "dir":
            entry["path"] = "/var/lib/vz" if item.id == "local" else f"/mnt/pve/{item.id}"
        elif item.type == "zfspool":
            entry["pool"] = "rpool/data" if item.id == "local-zfs" else item.id
        elif item.type == "lvmthin":
            entry |= {"vgname": "pve", "thinpool": "data"}
        found[item.id] = entry
    return found


def initial_network(node: NodeInfo) -> dict[str, dict[str, Any]]:
    """/etc/network/interfaces of a fresh node: one bridge that holds its address."""
    length = node.subnet.partition("/")[2] or "24"
    bridge = {
        "type": "bridge", "method": "static", "autostart": 1, "bridge_ports": "", "cidr": f"{node.address}/{length}",
    }  # fmt: skip
    if node.gateway:
        bridge["gateway"] = node.gateway
    return {"vmbr0": bridge}


@dataclass
class Runtime:
    """What runs, as the backend says; asked at most once a second."""

    backend: Backend
    states: dict[int, RunState] = field(default_factory=dict)
    asked: float = 0.0

    @property
    def fresh(self) -> bool:
        """Whether the last answer is younger than a second (a backend without processes is always fresh)."""
        return self.backend.name == "none" or time.monotonic() - self.asked < 1.0

    def all(self) -> dict[int, RunState]:
        """All running guests."""
        if self.backend.name == "none" or not self.fresh:
            self.states, self.asked = self.backend.running(), time.monotonic()
        return self.states

    def forget(self) -> None:
        """Makes the next question go to the backend."""
        self.asked = 0.0


@dataclass
class Broadcast:
    """What pvestatd last told the cluster: nothing newer is in its lists. Without a lag it tells everything at once."""

    lag: float = 0.0
    told: float = 0.0
    states: dict[int, RunState] = field(default_factory=dict)
    storages: frozenset[str] = frozenset()


class Pve:
    """Everything that a call works on."""

    def __init__(self, state: Path, backend: Backend, node: NodeInfo, root_password: str) -> None:
        self.state, self.backend, self.node = state, backend, node
        state.mkdir(parents=True, exist_ok=True)
        self.users = UserConfig(state / "access.json")
        self.auth = Auth(state / "authkey", self.users, root_password)
        self.guests = Guests(state / "nodes" / node.name)
        self.tasks = Tasks(state / "tasks", node.name)
        self.storages = Document(state / "storage.json", initial_storages(node))
        self.volumes = Document(state / "volumes.json", {})
        self.network = Document(state / "network.json", {"active": initial_network(node), "pending": None})
        self.cluster = Document(state / "cluster.json", {})
        self.runtime = Runtime(backend)
        self.broadcast = Broadcast()
        self.rows: dict[tuple[str, str], Rows] = defaultdict(Rows)  # by list and kind
        self.faults = Faults()
        self.devices: tuple[Device, ...] = node.devices  # on the PCI bus: a test may plug them elsewhere
        self.started = time.time()
        self.mutex = threading.RLock()
        self._locks: dict[int, threading.Lock] = {}

    def table(self, name: str) -> dict[str, Any]:
        """A table of cluster-wide objects; change it under `cluster.lock`, then `cluster.save()`."""
        found: dict[str, Any] = self.cluster.data.setdefault(name, {})
        return found

    @contextmanager
    def changed(self, name: str) -> Iterator[dict[str, Any]]:
        """A table of cluster-wide objects to change; kept when that is over without an error."""
        with self.cluster.changed():
            yield self.table(name)

    def conf(self, vmid: int, kind: str) -> GuestConf:
        """A guest's configuration, or the 500 that PVE gives for a missing one."""
        found = self.guests.get(vmid)
        if found is None or found.kind != kind:
            folder = "lxc" if kind == "lxc" else "qemu-server"
            raise failure(f"Configuration file 'nodes/{self.node.name}/{folder}/{vmid}.conf' does not exist")
        return found

    def broadcasted(self) -> Broadcast:
        """What runs and which storages there are, as the cluster's lists know it."""
        found = self.broadcast
        if time.monotonic() - found.told >= found.lag:
            found.told, found.states = time.monotonic(), dict(self.runtime.all())
            found.storages = frozenset(self.storages.data)
        return found

    def running(self, vmid: int) -> bool:
        """Whether a guest runs."""
        return vmid in self.runtime.all()

    @contextmanager
    def lock(
        self, vmid: int, kind: str, log: Callable[[str], None] | None = None, held: bool = False
    ) -> Iterator[None]:
        """The guest's config lock; gives up after ten seconds as PVE does."""
        lock = self._locks.setdefault(vmid, threading.Lock())
        name = f"/run/lock/lxc/pve-config-{vmid}.lock" if kind == "lxc" else f"/var/lock/qemu-server/lock-{vmid}.conf"
        if held or not lock.acquire(blocking=False):
            if log:
                log("trying to acquire lock...")
            if held:
                time.sleep(LOCK_WAIT)
            refuse_if(held or not lock.acquire(timeout=LOCK_WAIT), f"can't lock file '{name}' - got timeout")
            if log:
                log(" OK")
        self.runtime.forget()  # whoever holds the lock decides by what runs now
        try:
            yield
        finally:
            self.runtime.forget()
            lock.release()

    def spec(self, conf: GuestConf) -> GuestSpec:
        """A guest as the backend wants to know it."""
        seen = self.devices if conf.kind == "lxc" else self.passed(conf)  # a container asks for device nodes by name
        cards = tuple(device.as_card() for device in seen if device.is_display)
        return GuestSpec(conf.vmid, "lxc" if conf.kind == "lxc" else "qemu", conf.values, cards)

    def passed(self, conf: GuestConf) -> list[Device]:
        """The devices of the node's bus that a machine gets at its start."""
        return passed(self.devices, self.table("mapping_pci"), self.node.name, conf.values)

    def plug(self, devices: Iterable[Device]) -> None:
        """What is on the PCI bus from now on."""
        self.devices = tuple(devices)
        self.backend.plug([device.as_card() for device in self.devices if device.is_display])

    def interfaces(self) -> list[Interface]:
        """The active network configuration."""
        return [
            Interface(name, str(values["type"]), {k: str(v) for k, v in values.items() if k != "type"})
            for name, values in self.network.data["active"].items()
        ]
