"""A `pvelab serve --backend none` of its own, made ready for a hub and filled with the hub's guests."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from aihub.model.resolved import Hub
from aihub.names import pool
from aihub.proxmox.guests.desired import source_of, wanted
from metal.rights import ROLES

PASSWORD = "of-a-bench"
TICKS = os.sysconf("SC_CLK_TCK")
TOGETHER = 8  # tasks at a time
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Emulator:
    """One server process with its state in a directory; `start_seconds` is from spawn to an answered GET /version."""

    def __init__(self, directory: Path, core: int | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.directory, self.host = directory, host
        self.port = port or free_port(host)
        self.state, self.log = directory / "pve", directory / "server.log"
        password = directory / "password"
        directory.mkdir(parents=True, exist_ok=True)
        password.write_text(PASSWORD + "\n")
        command = [sys.executable, "-m", "pvelab.cli", "serve", "--backend", "none", "--host", host]
        command += ["--port", str(self.port), "--state", str(self.state), "--root-password-file", str(password)]
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        self.context, self.token = trusting, ""
        started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        if core is not None:
            os.sched_setaffinity(self.process.pid, {core})
        self._log_in()
        self.version = self.root("GET", "/version")["version"]
        self.start_seconds, self.start_cpu = time.monotonic() - started, self.cpu()

    def _log_in(self) -> None:
        """The API as root@pam, as soon as the server takes a connection."""
        limit = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection((self.host, self.port), timeout=5):
                    break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError(f"pvelab does not start: {self.log.read_text()[-500:]}") from None
                time.sleep(0.002)
        self.connection = http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=60)
        self.headers: dict[str, str] = {}
        found = self.root("POST", "/access/ticket", username="root@pam", password=PASSWORD)
        cookie = f"PVEAuthCookie={quote(found['ticket'])}"
        self.headers = {"Cookie": cookie, "CSRFPreventionToken": found["CSRFPreventionToken"]}

    def root(self, method: str, path: str, /, **data: object) -> Any:
        """One call as root@pam."""
        url, body = f"/api2/json{path}", urlencode(data)
        if method in ("GET", "DELETE"):
            url, body = f"{url}?{body}" if body else url, ""
        self.connection.request(method, url, body or None, {**self.headers, **(FORM if body else {})})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.reason}")
        return json.loads(text)["data"]

    def ended(self, upid: str) -> None:
        """Waits for a task that must end well."""
        while (found := self.root("GET", f"/nodes/pve/tasks/{upid}/status"))["status"] != "stopped":
            time.sleep(0.005)
        if found["exitstatus"] != "OK":
            raise RuntimeError(f"{upid}: {found['exitstatus']}")

    def cpu(self) -> float:
        """CPU seconds of the server so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """The most MiB that the server has held."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmHWM"))

    def prepare(self, hub: Hub) -> None:
        """What the node's own owner does before the first guest: images, bridges, pool, rights, and the token."""
        storage, empty = self.state / "storage" / "local", struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 3 << 30)
        for volume in {source_of(guest).volume for guest in hub.guests.values()}:
            folder, name = volume.partition(":")[2].split("/")
            path = storage / {"vztmpl": "template/cache", "import": "import"}[folder] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"" if folder == "vztmpl" else empty + bytes(80))
        bridges = sorted({guest.bridge for guest in hub.guests.values()})
        for bridge in bridges:
            self.root("POST", "/nodes/pve/network", iface=bridge, type="bridge", autostart=1)
        self.ended(self.root("PUT", "/nodes/pve/network"))
        self.root("POST", "/pools", poolid=pool(hub.name))
        for role, privileges in ROLES.items():
            self.root("POST", "/access/roles", roleid=role, privs=",".join(privileges))
        user = f"{pool(hub.name)}@pve"
        self.root("POST", "/access/users", userid=user)
        made = self.root("POST", f"/access/users/{user}/token/hub", privsep=1)
        grants = {f"/pool/{pool(hub.name)}": "HubGuest", "/vms": "HubAudit", "/nodes/pve": "HubNode"}
        grants |= {"/storage/local": "HubImages", **{f"/sdn/zones/localnetwork/{b}": "HubNet" for b in bridges}}
        for path, role in grants.items():
            self.root("PUT", "/access/acl", path=path, roles=role, users=user, propagate=1)
            self.root("PUT", "/access/acl", path=path, roles=role, tokens=f"{user}!hub", propagate=1)
        self.token = f"{made['full-tokenid']}={made['value']}"

    @property
    def certificate(self) -> Path:
        """The certificate that clients pin."""
        return self.state / "pve-ssl.pem"

    def fill(self, hub: Hub) -> None:
        """Makes the hub's guests as `aihub up` would leave them, all running, some at a time."""
        waiting: list[str] = []
        for guest in hub.guests.values():
            want = wanted(hub, guest, hub.operator_keys)
            values = {**want.create(), "tags": want.config["tags"], "start": 1}
            if guest.kind == "vm":
                values["scsi0"] = f"{guest.storage}:{guest.disk >> 30}"  # in its size at once, no image to grow
            waiting.append(self.root("POST", f"/nodes/pve/{'lxc' if guest.kind == 'lxc' else 'qemu'}", **values))
            if len(waiting) >= TOGETHER:
                self.ended(waiting.pop(0))
        for upid in waiting:
            self.ended(upid)

    def stop(self) -> None:
        """Ends the server."""
        self.connection.close()
        self.process.terminate()
        self.process.wait(30)


def free_port(host: str) -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])
