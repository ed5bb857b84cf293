"""A backend without processes: guests "run" in a file, for tests and for clients that want the API alone."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path

from .api import store
from .backend import BackendError, ExecResult, GuestSpec, Interface, Log, RunState


class NoneBackend:
    """Keeps who runs since when in one file; does nothing else."""

    name = "none"

    def __init__(self, state: Path) -> None:
        self.file = state / "running.json"
        self.lock = threading.Lock()
        self.since: dict[int, float] = {}
        if self.file.exists():
            self.since = {int(vmid): start for vmid, start in json.loads(self.file.read_text()).items()}

    def _save(self) -> None:
        store.write(self.file, json.dumps(self.since).encode())

    def create(self, guest: GuestSpec, archive: Path | None, log: Log) -> None:
        """Nothing to make."""

    def destroy(self, guest: GuestSpec, log: Log) -> None:
        """Stops counting the guest as running."""
        self.stop(guest, log)

    def start(self, guest: GuestSpec, log: Log) -> None:
        """Counts the guest as running from now on."""
        with self.lock:
            self.since[guest.vmid] = time.time()
            self._save()

    def stop(self, guest: GuestSpec, log: Log) -> None:
        """No longer counts the guest as running."""
        with self.lock:
            if self.since.pop(guest.vmid, None) is not None:
                self._save()

    def shutdown(self, guest: GuestSpec, timeout: float, log: Log) -> bool:
        """As stop."""
        self.stop(guest, log)
        return True

    def running(self) -> dict[int, RunState]:
        """The guests that were started and not stopped."""
        now = time.time()
        return {vmid: RunState(pid=100_000 + vmid, uptime=now - start) for vmid, start in self.since.copy().items()}

    def apply(self, guest: GuestSpec, changed: set[str]) -> set[str]:
        """Everything takes effect at once."""
        return set()

    def clone(self, source: GuestSpec, target: GuestSpec, log: Log) -> None:
        """Nothing to copy."""

    def resize(self, guest: GuestSpec, disk: str, size: int, log: Log) -> None:
        """Nothing to grow."""

    def snapshot(self, guest: GuestSpec, name: str, log: Log) -> None:
        """Nothing to keep."""

    def rollback(self, guest: GuestSpec, name: str, log: Log) -> None:
        """Nothing to put back."""

    def delete_snapshot(self, guest: GuestSpec, name: str, log: Log) -> None:
        """Nothing to forget."""

    def export(self, guest: GuestSpec, archive: Path, log: Log) -> None:
        """An archive with an empty root directory; compressed only when its name asks for gzip."""
        import tarfile  # slow to import, and seldom needed
        import tempfile

        with tempfile.TemporaryDirectory() as empty:
            mode = "w:gz" if archive.suffix in (".gz", ".tgz") else "w"
            with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
                tar.add(empty, arcname=".")

    def execute(self, guest: GuestSpec, argv: list[str], stdin: bytes, timeout: float) -> ExecResult:
        """Refuses: there is no process that could run a command."""
        raise BackendError("guest agent is not running: this backend runs no processes")

    def addresses(self, guest: GuestSpec) -> list[dict[str, object]]:
        """No interfaces."""
        return []

    def host_keys(self, guest: GuestSpec) -> list[str]:
        """Stand-in lines; they differ per guest and belong to no key."""
        name = guest.config.get("hostname", f"CT{guest.vmid}")
        lines = []
        for kind in ("rsa", "ecdsa", "ed25519"):
            digest = hashlib.sha256(f"{guest.vmid}{name}{kind}".encode()).hexdigest()[:43]
            lines.append(f"Creating SSH host key 'ssh_host_{kind}_key' - this may take some time ...")
            lines.append(f"done: SHA256:{digest} root@{name}")
        return lines

    def reload_network(self, interfaces: list[Interface], log: Log) -> None:
        """No bridges to make."""
