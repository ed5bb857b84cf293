"""A Proxmox without guests' processes (pvelab, backend none), made ready for a small hub, and runs against it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests
from metal.rights import ROLES

HERE = Path(__file__).parent
USER, POOL = "hub-small@pve", "hub-small"
TEMPLATE = "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"
HUB = """
hub: {{name: small, domain: small.home.arpa, id: {id}}}
nodes:
  pve:
    address: 192.168.1.10
    storage: {{fast: {{use: local}}}}
    lab: {{cores: 16, memory: 64GiB}}
zones:
  infra: {{subnet: 10.10.10.0/24, internet: outbound}}
  private: {{subnet: 10.10.20.0/24, internet: outbound}}
guests:
  db: {{vmid: 110, kind: lxc, zone: infra, address: 10.10.10.11, cores: 2, memory: 1GiB, disk: 8GiB}}
  ai: {{vmid: 201, kind: vm, zone: private, address: 10.10.20.11, cores: 2, memory: 2GiB, disk: 10GiB}}
"""
FIRST_ID = "00112233445566ff"


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Root:
    """The API as root@pam with a ticket: whoever else works on this Proxmox."""

    def __init__(self, port: int, certificate: Path, password: str) -> None:
        self.base = f"https://127.0.0.1:{port}/api2/json"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(certificate)
        ticket = self("POST", "/access/ticket", username="root@pam", password=password)
        self.session.cookies.set("PVEAuthCookie", ticket["ticket"])
        self.session.headers["CSRFPreventionToken"] = ticket["CSRFPreventionToken"]

    def __call__(self, method: str, path: str, /, **data: object) -> Any:
        send = {"params": data} if method in ("GET", "DELETE") else {"data": data}
        answer = self.session.request(method, self.base + path, timeout=30, **send)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.reason} {answer.text}"
        return answer.json()["data"]

    def task(self, method: str, path: str, /, **data: object) -> str:
        """A call that is a task, to its end."""
        upid, limit = self(method, path, **data), time.monotonic() + 20
        while (found := self("GET", f"/nodes/pve/tasks/{upid}/status"))["status"] != "stopped":
            assert time.monotonic() < limit, upid
            time.sleep(0.02)
        assert found["exitstatus"] == "OK", found
        return str(upid)

    def guests(self) -> dict[int, dict[str, Any]]:
        """All guests by VMID."""
        return {g["vmid"]: g for g in self("GET", "/cluster/resources", type="vm")}

    def config(self, vmid: int) -> dict[str, Any]:
        """A guest's config."""
        return dict(self("GET", f"/nodes/pve/{self.guests()[vmid]['type']}/{vmid}/config"))

    def sweep(self) -> None:
        """Takes every fault, lock and guest away, whoever made them."""
        self("DELETE", "/pvelab/faults")
        for vmid, guest in self.guests().items():
            self("DELETE", f"/pvelab/locks/{vmid}")
            if guest["status"] == "running":
                self.task("POST", f"/nodes/pve/{guest['type']}/{vmid}/status/stop")
            self.task("DELETE", f"/nodes/pve/{guest['type']}/{vmid}")

    def fault(self, **rule: object) -> None:
        """Lets one request (or `count` of them) meet a fault."""
        answer = self.session.post(f"{self.base}/pvelab/faults", json=rule, timeout=30)
        assert answer.ok, answer.text


class Lab:
    """The server, its root, and the driver that runs aihub's provisioning."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server_state = directory / "pve"
        self.port = free_port()
        (directory / "password").write_text("secret-of-the-lab\n")
        self._images()
        self.start()
        self.root = Root(self.port, directory / "certificate.pem", "secret-of-the-lab")
        self.token = self._prepare()
        self.driver = subprocess.Popen(
            [sys.executable, str(HERE / "crash_driver.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _images(self) -> None:
        """An OS template and a cloud image of three gibibytes, as far as this backend looks at them."""
        storage = self.server_state / "storage" / "local"
        template = storage / "template" / "cache" / TEMPLATE.rpartition("/")[2]
        image = storage / "import" / "debian-13-genericcloud-amd64.qcow2"
        for path in (template, image):
            path.parent.mkdir(parents=True)
        template.write_bytes(b"")
        image.write_bytes(struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 3 << 30) + bytes(80))

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        command = [sys.executable, "-m", "pvelab.cli", "serve", "--backend", "none", "--port", str(self.port)]
        command += ["--state", str(self.server_state), "--root-password-file", str(self.directory / "password")]
        with (self.directory / "server.log").open("ab") as log:
            self.server = subprocess.Popen(command, stdout=log, stderr=log)
        limit = time.monotonic() + 20
        while True:
            try:
                pem = ssl.get_server_certificate(("127.0.0.1", self.port), timeout=1)
                break
            except OSError:
                assert self.server.poll() is None, (self.directory / "server.log").read_text()
                assert time.monotonic() < limit, "the server does not answer"
                time.sleep(0.05)
        (self.directory / "certificate.pem").write_text(pem)

    def kill(self) -> None:
        """Takes the power away from the server."""
        self.server.kill()
        self.server.wait()

    def close(self) -> None:
        """Ends everything that was started."""
        self.kill()
        assert self.driver.stdin and self.driver.stdout
        self.driver.stdin.close()
        self.driver.wait(timeout=30)
        self.driver.stdout.close()
        self.root.session.close()

    def _prepare(self) -> str:
        """What metal does on a real node: bridges, pool, roles, user, token with exactly its rights."""
        root = self.root
        for bridge in ("hubinfra", "hubprivate"):
            root("POST", "/nodes/pve/network", iface=bridge, type="bridge", autostart=1)
        root.task("PUT", "/nodes/pve/network")
        root("POST", "/pools", poolid=POOL)
        for role, privileges in ROLES.items():
            root("POST", "/access/roles", roleid=role, privs=",".join(privileges))
        root("POST", "/access/users", userid=USER)
        made = root("POST", f"/access/users/{USER}/token/hub", privsep=1)
        grants = {
            f"/pool/{POOL}": "HubGuest",
            "/vms": "HubAudit",
            "/nodes/pve": "HubNode",
            "/storage/local": "HubImages",
        }
        grants |= {f"/sdn/zones/localnetwork/{b}": "HubNet" for b in ("hubinfra", "hubprivate")}
        for path, role in grants.items():
            root("PUT", "/access/acl", path=path, roles=role, users=USER, propagate=1)
            root("PUT", "/access/acl", path=path, roles=role, tokens=f"{USER}!hub", propagate=1)
        return f"{made['full-tokenid']}={made['value']}"

    def hub(self, name: str, hub_id: str = FIRST_ID, changes: dict[str, str] | None = None) -> Hub:
        """A hub of its own on this Proxmox: file, state directory, token."""
        return Hub(self, self.directory / name, hub_id, changes or {})

    def run(self, *jobs: dict[str, Any]) -> list[int]:
        """Runs of aihub at the same time; their exit codes, -9 for a killed one."""
        assert self.driver.stdin and self.driver.stdout
        self.driver.stdin.write(json.dumps(jobs) + "\n")
        self.driver.stdin.flush()
        answer = self.driver.stdout.readline()
        assert answer, "the driver died"
        return list(json.loads(answer))


class Hub:
    """One hub's files."""

    def __init__(self, lab: Lab, directory: Path, hub_id: str, changes: dict[str, str]) -> None:
        self.lab = lab
        self.directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "state").mkdir(parents=True)
        self.id = hub_id
        self.write(changes)
        (directory / "state" / "token").write_text(lab.token)
        os.link(lab.directory / "certificate.pem", directory / "state" / "node-cert.pem")

    def write(self, changes: dict[str, str]) -> None:
        """(Re)writes the hub file with texts in it replaced."""
        text = HUB.format(id=self.id)
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        (self.directory / "hub.yml").write_text(text)

    def job(self, verb: str, crash: str = "", allow: tuple[str, ...] = ()) -> dict[str, Any]:
        """A run, for `Lab.run`."""
        hub, state = self.directory / "hub.yml", self.directory / "state"
        job = {"verb": verb, "hub": str(hub), "state": str(state), "port": self.lab.port}
        return {**job, "crash": crash, "allow": list(allow)}

    def __call__(self, verb: str, crash: str = "", allow: tuple[str, ...] = ()) -> int:
        return self.lab.run(self.job(verb, crash, allow))[0]

    @property
    def error(self) -> str:
        """What the last failed run said."""
        return (self.directory / "state" / "error.txt").read_text()

    @property
    def journal(self) -> list[dict[str, Any]]:
        """What the journal says is in flight."""
        path = self.directory / "state" / "journal.json"
        return list(json.loads(path.read_text())["entries"]) if path.exists() else []

    def ok(self, verb: str, allow: tuple[str, ...] = ()) -> None:
        """A run that must end well."""
        code = self(verb, allow=allow)
        assert code == 0, f"{verb} ended with {code}: {self.error if code != 3 else 'changes pending'}"
