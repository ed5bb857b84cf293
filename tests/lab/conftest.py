"""The lab tests: one real lab for the whole run, made by `aihub up`, looked at from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from aihub.checks.context import Context
from aihub.model.resolved import Hub

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SMALL = Path(__file__).parent / "small.yml"


@dataclass
class Cli:
    """aihub as a person runs it: one hub file, one lab, one state directory."""

    hub: Path
    lab: str
    state: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        chosen = {
            "AIHUB_HUB": str(self.hub),
            "AIHUB_TARGET": "lab",
            "AIHUB_LAB": self.lab,
            "AIHUB_STATE": str(self.state),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "NO_COLOR": "1",
            "COLUMNS": "150",
        }
        return {**os.environ, **chosen, **self.environment}

    def __call__(self, *arguments: str, timeout: float = 1500) -> subprocess.CompletedProcess[str]:
        """Runs `aihub ARGUMENTS` to its end."""
        command = [str(BIN / "aihub"), *arguments]
        return subprocess.run(
            command, env=self.env, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )

    def on(self, guest: str, command: str, given: str = "") -> str:
        """Runs a shell command on a guest by plain ssh, without aihub; `given` is its standard input."""
        (config,) = self.state.glob(f"*-lab-{self.lab}/ssh/config")
        done = subprocess.run(
            ["ssh", "-F", str(config), "-T", guest, "--", command],
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (
            f"{guest}: {command}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done.stdout.strip()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `aihub ARGUMENTS` in a process group of its own."""
        return subprocess.Popen(
            [str(BIN / "aihub"), *arguments],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ok(self, *arguments: str) -> str:
        """Runs `aihub ARGUMENTS`, which must end with 0; returns its standard output."""
        done = self(*arguments)
        assert done.returncode == 0, (
            f"aihub {' '.join(arguments)} ended with {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        )
        return done.stdout

    def plan(self) -> tuple[int, dict]:
        """The plan as JSON, with the exit code."""
        done = self("plan", "--json")
        assert done.returncode in (0, 3), (
            f"plan ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done.returncode, json.loads(done.stdout)

    def settles(self, seconds: float = 60) -> None:
        """Waits until nothing is left to do: what came back by itself is well a moment before its unit says so."""
        limit = time.monotonic() + seconds
        while (found := self.plan())[0] != 0:
            assert time.monotonic() < limit, json.dumps(found[1], indent=1)
            time.sleep(1)

    def ssh(self, guest: str, command: str) -> str:
        """Runs a shell command on a guest."""
        return self.ok("ssh", guest, "--", command).strip()

    def world(self) -> dict:
        """What `pvelab status` says of the lab."""
        done = subprocess.run(
            [str(BIN / "pvelab"), "status", self.lab], capture_output=True, text=True, env=self.env, check=True
        )
        return json.loads(done.stdout)


class Api:
    """The lab's Proxmox API as any other client sees it: root@pam with a ticket."""

    def __init__(self, cli: Cli) -> None:
        world = cli.world()
        self.base = f"https://127.0.0.1:{world['api']['port']}/api2/json"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = world["api"]["certificate"]
        password = Path(world["api"]["root_password_file"]).read_text().strip()
        answer = self.session.post(
            f"{self.base}/access/ticket", data={"username": "root@pam", "password": password}, timeout=30
        )
        answer.raise_for_status()
        ticket = answer.json()["data"]
        self.session.cookies.set("PVEAuthCookie", ticket["ticket"])
        self.session.headers["CSRFPreventionToken"] = ticket["CSRFPreventionToken"]

    def __call__(self, method: str, path: str, **data: object):
        send = {"params": data} if method in ("GET", "DELETE") else {"data": data}
        answer = self.session.request(method, self.base + path, timeout=60, **send)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.reason} {answer.text}"
        return answer.json()["data"]

    def wait(self, upid: str, timeout: float = 120) -> str:
        """Waits for a task; returns its exit status."""
        limit = time.monotonic() + timeout
        while time.monotonic() < limit:
            found = self("GET", f"/nodes/pve/tasks/{upid}/status")
            if found["status"] == "stopped":
                return found["exitstatus"]
            time.sleep(0.2)
        raise AssertionError(f"{upid} did not end within {timeout} s")

    def writes(self) -> int:
        """How many write requests of API tokens the server has seen."""
        seen = self("GET", "/pvelab/requests")["requests"]
        return sum(1 for r in seen if r["method"] != "GET" and "!" in (r["user"] or ""))


@pytest.fixture(scope="session", autouse=True)
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.fail("the lab tests make real guests: run `make test` as root, or `make check` without", pytrace=False)


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The whole hub of inventory/hub.yml in a lab of this run's own."""
    lab = os.environ.get("AIHUB_LAB") or f"test-{os.getpid()}"
    return Cli(ROOT / "inventory" / "hub.yml", lab, tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def first_up(cli: Cli) -> Iterator[subprocess.CompletedProcess[str]]:
    """The first `aihub up`; whatever happens in the tests, the lab is removed at the end."""
    try:
        yield cli("up", timeout=1800)
    finally:
        cli("down", "--yes", timeout=300)


@pytest.fixture(scope="session")
def hub(cli: Cli, first_up: subprocess.CompletedProcess[str]) -> Cli:
    """A running, converged hub."""
    assert first_up.returncode == 0, (
        f"up ended with {first_up.returncode}\n{first_up.stdout[-8000:]}\n{first_up.stderr[-8000:]}"
    )
    return cli


@pytest.fixture
def api(hub: Cli) -> Api:
    return Api(hub)


@pytest.fixture
def inside(hub: Cli) -> Iterator[Context]:
    """The running hub as the checks see it: its vault, its shells, its state."""
    (state,) = hub.state.glob(f"*-lab-{hub.lab}")
    context = Context(hub.hub, "lab", str(state), hub.lab)
    yield context
    context.close()


@pytest.fixture
def resolved(inside: Context) -> Hub:
    """What follows from the hub file."""
    return inside.hub
