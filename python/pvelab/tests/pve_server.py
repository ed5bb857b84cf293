"""A `pvelab serve --backend none` as a process of its own, and small helpers to speak with it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

from pvelab.running import TEMPLATES

PASSWORD = "not-a-secret"
TEMPLATE, IMAGE = TEMPLATES


@dataclass
class Answer:
    """What came back: status line and body."""

    status: int
    reason: str
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self.text))

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def message(self) -> str:
        return str(self.json.get("message", "")).rstrip("\n")

    @property
    def errors(self) -> dict[str, str]:
        return dict(self.json.get("errors", {}))


@dataclass
class Server:
    """A running server and one way to call it."""

    state: Path
    port: int
    process: subprocess.Popen[bytes]
    headers: dict[str, str] = field(default_factory=dict)
    vmids: Iterator[int] = field(default_factory=lambda: count(1000))

    def call(self, method: str, path: str, params: dict[str, Any] | None = None, **more: Any) -> Answer:
        """Sends a form (or raw `body`) and reads the answer; DELETE and GET send a query."""
        headers = {**self.headers, **more.get("headers", {})}
        body, url = more.get("body"), path if path.startswith("/api2") else f"/api2/json{path}"
        encoded = urllib.parse.urlencode(params or {}, doseq=True)
        if method in ("GET", "DELETE") and params:
            url += f"?{encoded}"
        elif params is not None and body is None:
            body, headers = encoded, {"Content-Type": "application/x-www-form-urlencoded", **headers}
        context = ssl.create_default_context(cafile=self.state / "pve-ssl.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=20)
        try:
            connection.request(method, url, body, headers)
            response = connection.getresponse()
            found = {k.lower(): v for k, v in response.getheaders()}
            return Answer(response.status, response.reason, found, response.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **params: Any) -> Any:
        return self.call("GET", path, params).data

    def done(self, answer: Answer) -> str:
        """Waits for the task that an answer names and returns its exit status."""
        assert answer.status == 200, (answer.status, answer.text)
        for _ in range(400):
            status = self.get(f"/nodes/pve/tasks/{answer.data}/status")
            if status["status"] == "stopped":
                return str(status["exitstatus"])
            time.sleep(0.01)
        raise AssertionError(f"{answer.data} did not end")

    def log(self, upid: str) -> list[str]:
        return [line["t"] for line in self.get(f"/nodes/pve/tasks/{upid}/log", limit=0)]

    def as_token(self, secret: str) -> Server:
        """The same server, asked by a token."""
        headers = {"Authorization": f"PVEAPIToken={secret}"}
        return Server(self.state, self.port, self.process, headers, self.vmids)

    def container(self, **options: Any) -> int:
        """A fresh container."""
        vmid = next(self.vmids)
        wanted = {"vmid": vmid, "ostemplate": TEMPLATE, "rootfs": "local:1", "hostname": f"ct{vmid}", **options}
        assert self.done(self.call("POST", "/nodes/pve/lxc", wanted)) == "OK"
        return vmid

    def machine(self, **options: Any) -> int:
        """A fresh virtual machine."""
        vmid = next(self.vmids)
        wanted = {"vmid": vmid, "name": f"vm{vmid}", "scsi0": "local:1", "net0": "virtio,bridge=vmbr0", **options}
        assert self.done(self.call("POST", "/nodes/pve/qemu", wanted)) == "OK"
        return vmid


def start(state: Path, *options: str, program: Sequence[str] = (sys.executable, "-m", "pvelab.cli")) -> Server:
    """Starts a server on a free port and logs in as root@pam."""
    state.mkdir(parents=True, exist_ok=True)
    secret = state / "password"
    secret.write_text(PASSWORD + "\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [*program, "serve", "--backend", "none", "--port", str(port)]
    argv += ["--state", str(state), "--root-password-file", str(secret), *options]
    argv += [f"--template={volid}" for volid in TEMPLATES]
    log = (state / "server.log").open("ab")
    process = subprocess.Popen(argv, stderr=log, stdout=log, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    log.close()
    server = Server(state, port, process)
    for _ in range(500):
        try:
            login = server.call("POST", "/access/ticket", {"username": "root@pam", "password": PASSWORD})
            break
        except (OSError, ssl.SSLError):
            assert process.poll() is None, (state / "server.log").read_text()
            time.sleep(0.02)
    ticket = urllib.parse.quote(login.data["ticket"])
    server.headers = {"Cookie": f"PVEAuthCookie={ticket}", "CSRFPreventionToken": login.data["CSRFPreventionToken"]}
    return server


def stop(server: Server, number: int = signal.SIGTERM) -> None:
    server.process.send_signal(number)
    server.process.wait(10)
