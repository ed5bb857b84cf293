"""The state directory of a hub on one target: where the controller's own files lie."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aihub import reaper

_OF_A_RUN = re.compile(r".+-(\d+)-(\d+)-\w+")


def state_home() -> Path:
    """The state directory of all hubs: $AIHUB_STATE, else $XDG_STATE_HOME/aihub, else ~/.local/state/aihub."""
    if chosen := os.environ.get("AIHUB_STATE"):
        return Path(chosen)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "aihub"


@dataclass(frozen=True)
class State:
    """The files of one hub on one target. Everything in it is 0700 or 0600.

    A run that only reads has an ssh configuration of its own: what hub.yml says now is nobody else's business yet.
    """

    directory: Path
    own_config: Path | None = None

    @classmethod
    def of(cls, hub: str, target: str, lab: str = "") -> State:
        """The state of a hub; for the lab, of one lab by its name."""
        return cls(state_home() / (f"{hub}-lab-{lab}" if target == "lab" else f"{hub}-{target}"))

    def lab(self, hub: str) -> str:
        """The name of the lab whose state it is; empty for that of a real node."""
        return self.directory.name.partition(f"{hub}-lab-")[2]

    def make(self) -> None:
        """Creates the directories."""
        for path in (self.directory, self.ssh, self.runs, self.vault, self.kit):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A folder below `runs` for this use of it alone, gone afterwards: no other run writes there."""
        self.runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f"{name}-{os.getpid()}-{_began(os.getpid())}-", dir=self.runs)
        try:
            yield Path(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Removes such folders of runs that were killed."""
        for folder in self.runs.glob("*"):
            found = _OF_A_RUN.fullmatch(folder.name)
            if found and _began(int(found[1])) != found[2]:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def ssh(self) -> Path:
        return self.directory / "ssh"

    @property
    def ssh_config(self) -> Path:
        return self.own_config or self.ssh / "config"

    @property
    def known_hosts(self) -> Path:
        return self.ssh / "known_hosts"

    @property
    def key(self) -> Path:
        return self.ssh / "id_ed25519"

    @property
    def vault(self) -> Path:
        """What the controller needs to get into the vault."""
        return self.directory / "vault"

    @property
    def ca(self) -> Path:
        """The hub's root certificate; public."""
        return self.vault / "ca.pem"

    @property
    def vault_login(self) -> Path:
        """The controller's own AppRole."""
        return self.vault / "operator.json"

    @property
    def copies(self) -> Path:
        """The keys of the repositories with all copies, for the recovery kit."""
        return self.vault / "copies.json"

    @property
    def vault_pending(self) -> Path:
        """Shares, root token and the authority's key, while they are on their way into the recovery kit."""
        return self.vault / "pending.json"

    @property
    def kit(self) -> Path:
        """Recovery kits and what is known about them."""
        return self.directory / "kit"

    @property
    def token(self) -> Path:
        return self.directory / "token"

    @property
    def certificate(self) -> Path:
        return self.directory / "node-cert.pem"

    @property
    def names(self) -> Path:
        """What the hub was called when it was last made."""
        return self.directory / "hub.json"

    @property
    def journal(self) -> Path:
        return self.directory / "journal.json"

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def runs(self) -> Path:
        return self.directory / "runs"

    @property
    def control(self) -> Path:
        """The directory of ssh control sockets: short, since a socket's path may have at most 107 characters."""
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:8]
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or "/run") if os.geteuid() == 0 else Path("/tmp")  # noqa: S108
        return base / f"aihub-{os.geteuid()}-{digest}"


def _began(pid: int) -> str:
    """When a process began, which tells it from another one with its number; empty when there is none."""
    return reaper.look(pid)[1].decode()
