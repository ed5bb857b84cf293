"""A Proxmox without guests' processes (pvelab, backend none), made ready for a small hub, and runs against it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aihub import process
from aihub.state.directory import State
from pvelab.running import TEMPLATES

from tests.contract.rooted import USER, Root, grant, prepare

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = TEMPLATES[0]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7Zl0nMzvUkzqwZVr0YHqbdIMc5k0PfGYzmFXlrqV2y test"
HUB = """
hub: {{name: small, domain: small.home.arpa, id: {id}}}
operator: {{ssh_keys: ["{key}"]}}
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
MEMORY, PREFIX = Path("/dev/shm"), "aihub-contract-"
LIMIT = 90.0  # seconds that a run may take at most


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def in_memory() -> Path:
    """A directory in memory: here processes are killed, not disks, and waiting for a disk would be all there is.

    Those of test runs that were killed go first: each has the number of its process in its name.
    """
    base = MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())
    for left in base.glob(f"{PREFIX}*-*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))


@dataclass(frozen=True)
class Result:
    """How a run ended: its exit code, -9 for a killed one; `late` when it was killed for taking too long."""

    code: int
    pid: int
    seconds: float
    late: bool


class Lab:
    """The server, its root, and the driver that runs aihub."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or in_memory()
        self.server_state = self.directory / "pve"
        self.port = free_port()
        (self.directory / "password").write_text("secret-of-the-lab\n")
        self._life = ExitStack()  # when the tests are killed, server and driver die with them
        self._environment = self._life.enter_context(process.environment())
        self.start()
        self.root = Root(self.port, self.directory / "certificate.pem", "secret-of-the-lab")
        self.token = prepare(self.root)
        self.stale = False  # a run may have taken the token away, or made a new one
        self.driver = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.crash_driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self._environment,
        )

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        command = [sys.executable, "-m", "pvelab.cli", "serve", "--backend", "none", "--port", str(self.port)]
        command += ["--state", str(self.server_state), "--root-password-file", str(self.directory / "password")]
        command += [f"--template={volid}" for volid in TEMPLATES]
        with (self.directory / "server.log").open("ab") as log:
            self.server = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        limit = time.monotonic() + 60
        while True:
            try:
                pem = ssl.get_server_certificate(("127.0.0.1", self.port), timeout=5)
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
        self._life.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def renew(self) -> None:
        """A new token with its rights, if need be: runs take it away, or keep its value to themselves."""
        if not self.stale:
            return
        self.stale = False
        path = f"/access/users/{USER}/token/hub"
        self.root.call("DELETE", path)
        made = self.root("POST", path, privsep=1)
        grant(self.root, tokens=f"{USER}!hub")
        self.token = f"{made['full-tokenid']}={made['value']}"

    def hub(self, name: str, hub_id: str = FIRST_ID, changes: dict[str, str] | None = None) -> Hub:
        """A hub of its own on this Proxmox: file, state directory, token."""
        return Hub(self, self.directory / name, hub_id, changes or {})

    def run(self, *jobs: dict[str, Any]) -> list[Result]:
        """Runs of aihub at the same time."""
        assert self.driver.stdin and self.driver.stdout
        self.driver.stdin.write(json.dumps(jobs) + "\n")
        self.driver.stdin.flush()
        answer = self.driver.stdout.readline()
        assert answer, "the driver died"
        return [Result(**found) for found in json.loads(answer)]


class Hub:
    """One hub's files, as one machine has them."""

    def __init__(self, lab: Lab, directory: Path, hub_id: str, changes: dict[str, str]) -> None:
        self.lab = lab
        self.directory = directory
        self.id = hub_id
        self.weaken = ""
        self.last = Result(0, 0, 0.0, False)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.write(changes)
        self.introduce()

    @property
    def state(self) -> State:
        """Its state directory."""
        return State(self.directory / "state" / "small-pve")

    def introduce(self) -> None:
        """What `aihub trust` and the first `up` leave on a real node: token and pinned certificate."""
        self.forget()
        self.lab.renew()
        self.state.make()
        self.state.token.write_text(self.lab.token)
        self.state.certificate.write_text((self.lab.directory / "certificate.pem").read_text())

    def forget(self) -> None:
        """The controller is new: it knows nothing."""
        shutil.rmtree(self.directory / "state", ignore_errors=True)
        self.lease.unlink(missing_ok=True)

    @property
    def lease(self) -> Path:
        """Where the node would keep the lease of this hub."""
        return self.lab.directory / f"{self.id}.lease"

    def write(self, changes: dict[str, str]) -> None:
        """(Re)writes the hub file with texts in it replaced."""
        text = HUB.format(id=self.id, key=KEY)
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        (self.directory / "hub.yml").write_text(text)

    def job(self, *verbs: str, crash: str = "", allow: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
        """A run, for `Lab.run`."""
        if verbs == ("down",) and not allow:
            allow = ("db", "ai")
        paths = {"hub": "hub.yml", "state": "state", "output": "output.txt", "made": "made.json"}
        return {
            **{name: str(self.directory / file) for name, file in paths.items()},
            "verbs": verbs,
            "crash": crash,
            "allow": allow,
            "lease": str(self.lease),
            "certificate": str(self.lab.directory / "certificate.pem"),
            "port": self.lab.port,
            "ticket": self.lab.root.ticket,
            "weaken": self.weaken,
            "limit": LIMIT,
            **more,
        }

    def __call__(self, *verbs: str, **more: Any) -> int:
        self.lab.stale |= bool({"trust", "down"} & set(verbs))
        self.last = self.lab.run(self.job(*verbs, **more))[0]
        return self.last.code

    @property
    def output(self) -> str:
        """What the last run printed."""
        return (self.directory / "output.txt").read_text()

    @property
    def said(self) -> str:
        """The same as one line, wherever it was wrapped."""
        return " ".join(self.output.split())

    @property
    def made(self) -> list[str]:
        """The writes of the last run that was not killed."""
        path = self.directory / "made.json"
        return list(json.loads(path.read_text())) if path.exists() else []

    @property
    def journal(self) -> list[dict[str, Any]]:
        """What the journal says is in flight."""
        path = self.state.journal
        return list(json.loads(path.read_text())["entries"]) if path.exists() else []

    def ok(self, *verbs: str, **more: Any) -> None:
        """A run that must end well."""
        code = self(*verbs, **more)
        assert code == 0, f"{verbs} ended with {code}:\n{self.output}"
