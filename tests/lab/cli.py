"""aihub as a person runs it in a lab of a test's own, and the lab's API as anybody else's client sees it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from aihub import paths
from aihub.checks.context import Context
from aihub.reading import load

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def told(what: str, done: subprocess.CompletedProcess[str]) -> str:
    """How a run ended: its failed checks and its error in the first line, which is all that a summary shows."""
    failed = re.findall(r"^✘ (\S+)  (.{,40}).*\n\s+(.{,120})", done.stdout, re.MULTILINE)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    why = "; ".join((*(f"{subject} {claim}: {reason}" for subject, claim, reason in failed), *errors))[:900]
    return f"{what} ended with {done.returncode}: {why}\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"


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

    @property
    def directory(self) -> Path:
        """The state of this hub."""
        (found,) = self.state.glob(f"*-lab-{self.lab}")
        return found

    @property
    def stacks(self) -> Path:
        """The folder of its stacks."""
        return Path(self.environment.get("AIHUB_STACKS", paths.STACKS))

    @contextmanager
    def opened(self) -> Iterator[Context]:
        """The running hub as its checks see it: its vault, its shells, its state."""
        context = Context(self.hub, "lab", str(self.directory), self.lab)
        context.hub = load.load(self.hub, self.stacks, target="lab")
        try:
            yield context
        finally:
            context.close()

    def __call__(
        self, *arguments: str, timeout: float = 1500, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `aihub ARGUMENTS` to its end; `given` is its standard input."""
        return subprocess.run(
            [str(BIN / "aihub"), *arguments],
            env=self.env,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def on(self, guest: str, command: str, given: str = "") -> str:
        """Runs a shell command on a guest by plain ssh, without aihub; `given` is its standard input."""
        done = subprocess.run(
            ["ssh", "-F", str(self.directory / "ssh" / "config"), "-T", guest, "--", command],
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
        """Starts `aihub ARGUMENTS` in a process group of its own, where it hears Ctrl-C as in a terminal.

        A shell has what it starts in its background ignore it, and that is inherited. It says what each of its threads
        does when it is ended by SIGABRT.
        """
        return subprocess.Popen(
            ["env", "--default-signal=INT", str(BIN / "aihub"), *arguments],
            env={**self.env, "PYTHONFAULTHANDLER": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ok(self, *arguments: str) -> str:
        """Runs `aihub ARGUMENTS`, which must end with 0; returns its standard output."""
        done = self(*arguments)
        assert done.returncode == 0, told(f"aihub {' '.join(arguments)}", done)
        return done.stdout

    def plan(self) -> tuple[int, dict]:
        """The plan as JSON, with the exit code."""
        done = self("plan", "--json")
        assert done.returncode in (0, 3), told("plan", done)
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
