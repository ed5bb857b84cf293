"""A backend without processes: guests "run" in a file, for tests and for clients that want the API alone."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .api import simulated, store
from .backend import Card, ExecResult, GuestSpec, Log, RunState


def host_key(name: str, kind: str = "ssh-ed25519") -> bytes:
    """The blob of the public host key that a guest of this name would have."""
    key = hashlib.sha256(f"{name} {kind}".encode()).digest()
    return len(kind).to_bytes(4, "big") + kind.encode() + len(key).to_bytes(4, "big") + key


def _state(vmid: int, since: float) -> RunState:
    return RunState(pid=100_000 + vmid, since=since)


class NoneBackend:
    """Keeps who runs since when in one file; does nothing else."""

    name = "none"

    def __init__(self, state: Path) -> None:
        self.file = state / "running.json"
        self.lock = threading.Lock()
        self.states: dict[int, RunState] = {}
        self.paused: set[int] = set()  # machines that were suspended to memory
        if self.file.exists():
            since = json.loads(self.file.read_text())
            self.states = {int(vmid): _state(int(vmid), start) for vmid, start in since.items()}

    def _save(self) -> None:
        since = {vmid: state.since for vmid, state in self.states.items()}
        store.write(self.file, json.dumps(since).encode())

    def _nothing(self, *_: Any, **__: Any) -> None:
        """No disks and no bridges: nothing to make, to keep or to put back."""

    create = clone = resize = snapshot = rollback = delete_snapshot = reload_network = _nothing

    def destroy(self, guest: GuestSpec, log: Log) -> None:
        """Stops counting the guest as running."""
        self.stop(guest, log)

    def start(self, guest: GuestSpec, log: Log) -> None:
        """Counts the guest as running from now on."""
        with self.lock:
            self.states[guest.vmid] = _state(guest.vmid, time.time())
            self._save()

    def stop(self, guest: GuestSpec, log: Log) -> None:
        """No longer counts the guest as running."""
        with self.lock:
            self.paused.discard(guest.vmid)
            if self.states.pop(guest.vmid, None) is not None:
                self._save()

    def shutdown(self, guest: GuestSpec, timeout: float, log: Log) -> bool:
        """As stop."""
        self.stop(guest, log)
        return True

    def running(self) -> dict[int, RunState]:
        """The guests that were started and not stopped."""
        return self.states.copy()

    def apply(self, guest: GuestSpec, changed: set[str]) -> set[str]:
        """Everything takes effect at once."""
        return set()

    def export(self, guest: GuestSpec, archive: Path, log: Log) -> None:
        """An archive of the guest's configuration and an empty root, compressed as its name says where that can be."""
        import io  # these are slow to import, and seldom needed
        import shutil
        import subprocess
        import tarfile

        text = "".join(f"{key}: {value}\n" for key, value in sorted(guest.config.items()) if key != "description")
        names = {"./etc/vzdump/pct.conf": text, "./etc/vzdump/pct.fw": ""}
        if guest.kind == "qemu":
            names = {"./qemu-server.conf": text}
        with tarfile.open(archive, "w:gz" if archive.suffix in (".gz", ".tgz") else "w") as tar:
            for name, content in names.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content.encode())
                tar.addfile(entry, io.BytesIO(content.encode()))
            root = tarfile.TarInfo("./")
            root.type, root.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(root)
        if archive.suffix == ".zst" and shutil.which("zstd"):
            subprocess.run(["zstd", "-q", "-f", "--rm", str(archive), "-o", f"{archive}.packed"], check=True)
            Path(f"{archive}.packed").replace(archive)

    def execute(self, guest: GuestSpec, argv: list[str], stdin: bytes, timeout: float) -> ExecResult:
        """What a few harmless programs would answer; none runs."""
        return simulated.execute(guest, argv, stdin)

    def addresses(self, guest: GuestSpec) -> list[dict[str, object]]:
        """The loopback, and the cards as they are configured."""
        return simulated.interfaces(guest)

    def host_keys(self, guest: GuestSpec) -> list[str]:
        """The lines of keys that `host_key` stands for; nobody has their private halves."""
        name = guest.config.get("hostname", f"CT{guest.vmid}")
        lines = []
        for kind in ("rsa", "ecdsa", "ed25519"):
            raw = hashlib.sha256(host_key(name, f"ssh-{kind}")).digest()
            digest = base64.b64encode(raw).decode().rstrip("=")
            lines.append(f"Creating SSH host key 'ssh_host_{kind}_key' - this may take some time ...")
            lines.append(f"done: SHA256:{digest} root@{name}")
        return lines

    def plug(self, cards: Sequence[Card]) -> None:
        """No machine that could lose one."""

    def hook(self, script: str, vmid: int, phase: str, log: Log) -> int:
        """Nothing runs: there is no node."""
        log(f"{script} {vmid} {phase}: hook scripts run with `pvelab up` alone")
        return 0
