"""Where one lab keeps what it has, and the settings it was made with."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from . import mounts
from .errors import LabError

STATES = Path("/var/lib/pvelab")
RUNTIME = Path("/run/pvelab")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


def cache() -> Path:
    """The directory shared by all labs of this machine: artifacts and the lab CA."""
    return Path(os.environ.get("PVELAB_CACHE", "/var/cache/pvelab"))


def private(folder: Path) -> Path:
    """Makes a directory that no other user of the machine can pass, whoever made it before.

    Below it lie root file systems: a program in one that is setuid must be out of everybody's reach.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def names() -> list[str]:
    """All labs that have state or runtime files on this machine."""
    every = (path for base in (STATES, RUNTIME) if base.is_dir() for path in base.iterdir() if path.is_dir())
    return sorted({path.name for path in every if not path.name.startswith(".")})  # a dot: half removed


@dataclass(frozen=True)
class _InState:
    """A path in a lab's state."""

    name: str

    def __get__(self, lab: Lab, owner: type[Lab]) -> Path:
        return lab.state / self.name


@dataclass(frozen=True)
class Lab:
    """One lab: its name decides every path, namespace and process of it."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LabError(f"{self.name!r} is no name for a lab: use a-z, 0-9 and -, a letter first, at most 31")

    containers = _InState("lxc")  # lxc's own directory: one folder per container, guests named by VMID
    snapshots = _InState("snapshots")  # copies of guests' root file systems: VMID/NAME
    api = _InState("api")  # the API server's own state
    root_password = _InState("root-password")  # the file that holds the password of root@pam
    config_file = _InState("config.json")  # the settings given to `pvelab up`
    port_file = _InState("port")  # the port on the host's loopback that leads to the API
    package_addresses = _InState("package-addresses.json")  # of the machine's package sources when the lab came up
    artifacts = _InState("artifacts.jsonl")  # what this lab took of the machine's artifacts, a line of JSON each

    @property
    def netns(self) -> str:
        """The network namespace's name."""
        return f"pvelab-{self.name}"

    @property
    def cgroup(self) -> str:
        """The cgroup, in each of the machine's hierarchies, that all of the lab's containers lie below."""
        return f"pvelab-{self.name}"

    @property
    def netns_path(self) -> Path:
        """The network namespace's file."""
        return Path("/run/netns") / self.netns

    @property
    def state(self) -> Path:
        """What outlives a `pvelab down` without --purge."""
        return STATES / self.name

    @property
    def run(self) -> Path:
        """What lives as long as the lab is up."""
        return RUNTIME / self.name

    @property
    def week(self) -> str:
        """The week whose packages this lab gets: that of its first `pvelab up`. A new one changes nothing under it."""
        kept = self.state / "week"
        return kept.read_text().strip() if kept.exists() else datetime.now(UTC).strftime("%G-W%V")

    def rootfs(self, container: str) -> Path:
        """A container's root file system, a plain directory."""
        return self.containers / container / "rootfs"

    @property
    def seen(self) -> Path:
        """The containers' directory as those who start them see it (`namespace`); for all others it is empty.

        The root of a uid map must be able to pass to its root file system, and through `state` nobody can.
        """
        return self.run / "roots"

    def seen_rootfs(self, container: str) -> Path:
        """A container's root file system on the way that its uid map can pass."""
        return self.seen / container / "rootfs"

    def log(self, subject: str) -> Path:
        """A log file of this lab."""
        return self.state / "log" / f"{subject}.log"

    def make(self) -> None:
        """Makes the directories. Whoever is not root passes `run` alone, where nothing of a guest lies."""
        for path in (self.state, self.snapshots, self.api, self.log("x").parent):
            private(path)
        for path in (self.run, self.seen, self.containers):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o711)
        mounts.guard(self.containers)
        mounts.guard(self.snapshots)
        (self.state / "week").write_text(self.week + "\n")

    def config(self) -> Config:
        """The settings kept by the last `pvelab up`."""
        try:
            return Config.parse(json.loads(self.config_file.read_text()))
        except FileNotFoundError as error:
            raise LabError(f"there is no lab {self.name}", hint=f"pvelab up {self.name} --config FILE") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lab's lock: a second `up` or `down` waits. The lock is on the state directory itself."""
        handle = self._lock()
        try:
            yield
        finally:
            os.close(handle)

    def _lock(self) -> int:
        while True:
            private(self.state)
            handle = os.open(self.state, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            # While this waited, a `down --purge` may have removed the directory.
            if self.state.exists() and self.state.stat().st_ino == os.fstat(handle).st_ino:
                return handle
            os.close(handle)


@dataclass(frozen=True)
class Config:
    """The settings of a lab, as `pvelab up --config` gives them."""

    raw: Mapping[str, Any]
    node_name: str
    node_address: str
    node_subnet: IPv4Network
    node_memory: int
    root_key: str
    registry_names: tuple[str, ...]
    scale: float | None
    subnets: tuple[IPv4Network, ...]
    builder: bool  # one will be wanted
    least: Mapping[int, int]  # VMID -> bytes of memory that the guest needs, however much the lab is scaled down

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Config:
        """Reads the settings; raises LabError naming the key that is missing or wrong."""
        try:
            node = raw["node"]
            return cls(
                raw=raw,
                node_name=str(node["name"]),
                node_address=str(node["address"]),
                node_subnet=IPv4Network(node["subnet"]),
                node_memory=int(node.get("memory", 0)),
                root_key=str(raw.get("root_key", "")).strip(),
                registry_names=tuple(raw.get("registry_names", ())),
                scale=float(raw["scale"]) if raw.get("scale") else None,
                subnets=tuple(IPv4Network(text) for text in raw.get("subnets", ())),
                builder=bool(raw.get("builder", False)),
                least={int(vmid): int(size) for vmid, size in raw.get("least", {}).items()},
            )
        except KeyError as error:
            raise LabError(f"the lab's config lacks {error.args[0]!r}") from error
        except (TypeError, ValueError) as error:
            raise LabError(f"the lab's config is wrong: {error}") from error
