"""Which cgroup hierarchy this machine has, and how a guest's limits are written for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Version = Literal["v1", "hybrid", "v2"]

PERIOD = 100_000
MEMORY_FLOOR = 512 * 1024**2
CORES_FLOOR = 1.0


def detect(mounts: str | None = None) -> Version:
    """`v2`: one unified tree; `hybrid`: controllers in v1 trees beside a unified one; `v1`: no unified tree."""
    table = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    kinds = {fields[2] for line in table.splitlines() if len(fields := line.split()) > 2}
    if "cgroup" not in kinds:
        return "v2"
    return "hybrid" if "cgroup2" in kinds else "v1"


def init_arguments(version: Version) -> list[str]:
    """What systemd in a container must be told, since recent ones refuse v1 trees by default."""
    if version == "v2":
        return []
    return ["systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]


@dataclass(frozen=True)
class Limits:
    """A guest's real limits: what its config declares, divided by the lab's factor, not below what it needs."""

    memory: int
    cores: float

    @classmethod
    def scaled(cls, memory_mib: int, cores: float, factor: float, least: int = 0) -> Limits:
        """The real limits of a guest that declares this much, and of which is known that it needs `least` bytes."""
        declared = memory_mib * 1024**2
        return cls(
            memory=max(int(declared / factor), min(max(MEMORY_FLOOR, least), declared)),
            cores=max(cores / factor, min(CORES_FLOOR, cores)) if cores else 0,
        )

    def settings(self, version: Version) -> dict[str, str]:
        """cgroup file name to value; memory first, so that a lower limit fails before anything else changes."""
        quota = int(self.cores * PERIOD)
        if version == "v2":
            values = {"memory.max": str(self.memory)}
            values["cpu.max"] = f"{quota} {PERIOD}" if quota else f"max {PERIOD}"
            return values
        values = {"memory.limit_in_bytes": str(self.memory), "cpu.cfs_period_us": str(PERIOD)}
        values["cpu.cfs_quota_us"] = str(quota) if quota else "-1"
        return values


def prefix(version: Version) -> str:
    """How lxc's config keys begin."""
    return "lxc.cgroup2" if version == "v2" else "lxc.cgroup"


def usage(pid: int, version: Version, read: Callable[[Path], str] = Path.read_text) -> tuple[int, float]:
    """Memory in bytes and consumed CPU seconds of the cgroup that a container's init lives in."""
    groups = _groups(Path(f"/proc/{pid}/cgroup").read_text())
    base = Path("/sys/fs/cgroup")
    try:
        if version == "v2":
            home = base / _container(groups[""])
            stat = dict(line.split() for line in read(home / "cpu.stat").splitlines())
            return int(read(home / "memory.current")), int(stat["usage_usec"]) / 1e6
        memory = base / "memory" / _container(groups["memory"])
        cpu = base / "cpuacct" / _container(groups["cpuacct"])
        held = dict(line.split() for line in read(memory / "memory.stat").splitlines())
        return int(held.get("total_rss", held.get("rss", "0"))), int(read(cpu / "cpuacct.usage")) / 1e9
    except (FileNotFoundError, KeyError):
        return 0, 0.0


def remove(group: str, root: Path = Path("/sys/fs/cgroup")) -> list[Path]:
    """Removes a cgroup with all below it in every hierarchy; returns what stays because something runs in it."""
    left = []
    for home in (root / group, *sorted(root.glob(f"*/{group}"))):
        folders = sorted(home.glob("**/"), reverse=True) if home.is_dir() else []
        for folder in folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                left.append(folder)
    return left


def _groups(table: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in table.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _container(path: str) -> str:
    """The container's own cgroup: systemd inside it moves itself into init.scope below."""
    return path.lstrip("/").removesuffix("/init.scope")
