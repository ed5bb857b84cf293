"""What the API needs from whatever makes guests run: the seam between `pvelab.api` and `pvelab.world`.

All methods block and are called from worker threads, one thread per guest at a time. Each raises
`BackendError` with the text that the task log shall end with. `log` takes one line for the task log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Log = Callable[[str], None]


class BackendError(Exception):
    """The backend could not do it; the message becomes the task's exit status."""


@dataclass(frozen=True)
class Card:
    """A display card that a machine gets: where the node has it, what it is, whether it answers; memory in MiB."""

    place: str
    ident: str
    memory: int = 0
    alive: bool = True


@dataclass(frozen=True)
class GuestSpec:
    """A guest as its stored PVE config says (all values are the config's own strings)."""

    vmid: int
    kind: Literal["lxc", "qemu"]
    config: Mapping[str, str]
    cards: tuple[Card, ...] = ()  # of the node's bus as it is now; for a container all that the node has


@dataclass(frozen=True)
class RunState:
    """One running guest: `since` by `time.time`, `cpu` as a fraction of one core, `memory` in bytes."""

    pid: int
    since: float
    cpu: float = 0.0
    memory: int = 0
    disk: int = 0
    netin: int = 0
    netout: int = 0

    @property
    def uptime(self) -> float:
        """For how many seconds it has been running."""
        return max(0.0, time.time() - self.since)


@dataclass(frozen=True)
class Interface:
    """One network interface as GET /nodes/N/network holds it."""

    name: str
    kind: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExecResult:
    """What a command in a guest left behind."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Backend(Protocol):
    """Makes guests exist and run."""

    name: str

    def create(self, guest: GuestSpec, archive: Path | None, log: Log) -> None:
        """Makes the guest's root file system from a template, image or backup archive. Not started."""

    def destroy(self, guest: GuestSpec, log: Log) -> None:
        """Removes all that `create` made; fine if part of it is missing already."""

    def start(self, guest: GuestSpec, log: Log) -> None:
        """Starts the guest with its current config and returns when its init runs."""

    def stop(self, guest: GuestSpec, log: Log) -> None:
        """Stops the guest at once."""

    def shutdown(self, guest: GuestSpec, timeout: float, log: Log) -> bool:
        """Asks the guest to shut down; False when it still runs after `timeout` seconds."""

    def running(self) -> dict[int, RunState]:
        """All guests of this lab that run now, by VMID."""

    def apply(self, guest: GuestSpec, changed: set[str]) -> set[str]:
        """Applies changed config keys to a running guest; returns the keys that wait for a restart."""

    def clone(self, source: GuestSpec, target: GuestSpec, log: Log) -> None:
        """Copies the root file system of a stopped or running guest."""

    def resize(self, guest: GuestSpec, disk: str, size: int, log: Log) -> None:
        """Grows one disk to `size` bytes."""

    def snapshot(self, guest: GuestSpec, name: str, log: Log) -> None:
        """Keeps the guest's disks as they are now."""

    def rollback(self, guest: GuestSpec, name: str, log: Log) -> None:
        """Puts the guest's disks back as `snapshot` kept them."""

    def delete_snapshot(self, guest: GuestSpec, name: str, log: Log) -> None:
        """Forgets what `snapshot` kept."""

    def export(self, guest: GuestSpec, archive: Path, log: Log) -> None:
        """Writes the root file system as a tar.zst archive (vzdump)."""

    def execute(self, guest: GuestSpec, argv: list[str], stdin: bytes, timeout: float) -> ExecResult:
        """Runs a command in a running guest (the QEMU guest agent's exec)."""

    def addresses(self, guest: GuestSpec) -> list[dict[str, object]]:
        """The guest agent's network-get-interfaces result."""

    def host_keys(self, guest: GuestSpec) -> list[str]:
        """Lines like `Creating SSH host key 'ssh_host_ed25519_key' ... SHA256:... root@name` for the create log."""

    def plug(self, cards: Sequence[Card]) -> None:
        """The node's bus has these display cards now: a machine that runs with another one has lost it."""

    def hook(self, script: str, vmid: int, phase: str, log: Log) -> int:
        """Runs a hook script, by its path on the node; returns its exit code. What it prints is logged."""

    def reload_network(self, interfaces: list[Interface], log: Log) -> None:
        """Makes the node's bridges and their addresses what `interfaces` says."""
