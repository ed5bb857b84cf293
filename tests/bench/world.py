"""The running lab that is measured: its files, its guests, its Proxmox API seen from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from aihub import ssh
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.ssh import config as ssh_config
from aihub.state.directory import State

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class World:
    """One hub in one lab, up and converged."""

    hub: Hub
    lab: str
    state: State

    @classmethod
    def find(cls, path: Path, lab: str) -> World:
        """The lab that `aihub up` made for a hub file."""
        hub = load.load(path, target="lab")
        name = lab or os.environ.get("AIHUB_LAB") or hub.name
        return cls(hub, name, State.of(hub.name, "lab", name))

    @property
    def env(self) -> dict[str, str]:
        """The environment of everything that is measured."""
        return {
            "AIHUB_HUB": str(Path(self.hub.path).resolve()),
            "AIHUB_TARGET": "lab",
            "AIHUB_LAB": self.lab,
            "AIHUB_STATE_DIR": str(self.state.directory),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "NO_COLOR": "1",
        }

    def aihub(self, *arguments: str) -> list[str]:
        """An aihub command line."""
        return [str(BIN / "aihub"), *arguments]

    def close_connections(self) -> None:
        """Ends the shared ssh connections: the next run pays for its own."""
        ssh.close_all(self.state)

    def open_connections(self) -> None:
        """Brings the shared ssh connections up."""
        self._on_all("true")

    def sessions(self) -> dict[str, int]:
        """How many ssh commands each guest's sshd has started so far, as it logs; this question is one more."""
        count = "journalctl --quiet --output=cat SYSLOG_IDENTIFIER=sshd-session SYSLOG_IDENTIFIER=sshd"
        answers = self._on_all(f"{count} | grep -c '^Starting session: '")
        return {name: int(text) for name, text in answers.items()}

    def started(self) -> dict[str, str]:
        """When each container was started; equal texts before and after mean that nothing restarted."""
        form = "--format '{{.Name}} {{.State.StartedAt}}'"
        command = f"docker ps --quiet | xargs --no-run-if-empty docker inspect {form}"
        used = [name for name in self.hub.guests if self.hub.on(name)]
        return self._on_all(f"{command} | sort", used)

    def guest_cpu(self) -> float:
        """CPU seconds that the lab's containers have used, as the kernel's cgroups count them."""
        total = 0.0
        for pid in self._first_processes():
            total += _cgroup_seconds(pid)
        return total

    def api_writes(self) -> int:
        """How many writes with an API token the lab's server has seen."""
        import requests

        status = self.status()
        session = requests.Session()
        session.trust_env = False
        session.verify = status["api"]["certificate"]
        base = f"https://127.0.0.1:{status['api']['port']}/api2/json"
        password = Path(status["api"]["root_password_file"]).read_text().strip()
        login = session.post(f"{base}/access/ticket", data={"username": "root@pam", "password": password}, timeout=30)
        login.raise_for_status()
        session.cookies.set("PVEAuthCookie", login.json()["data"]["ticket"])
        answer = session.get(f"{base}/pvelab/requests", timeout=30)
        answer.raise_for_status()
        seen = answer.json()["data"]["requests"]
        return sum(request["method"] != "GET" and "!" in request["user"] for request in seen)

    def status(self) -> dict:
        """What `pvelab status` says."""
        done = subprocess.run([str(BIN / "pvelab"), "status", self.lab], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def _on_all(self, command: str, names: list[str] | None = None) -> dict[str, str]:
        names = names or list(self.hub.guests)

        def ask(name: str) -> str:
            return ssh.run(self.state, name, command, timeout=60, check=False).stdout.decode().strip()

        with ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(ask, names), strict=True))

    def _first_processes(self) -> list[int]:
        """The init of each guest's container: the child of the process that lxc leaves to watch it."""
        watched = {f"[lxc monitor] /var/lib/pvelab/{self.lab}/lxc {g.vmid}" for g in self.hub.guests.values()}
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cmdline").read_text().rstrip("\0 ") in watched:
                    children = (entry / "task" / entry.name / "children").read_text().split()
                    found += [int(child) for child in children[:1]]
            except OSError:
                continue  # it ended meanwhile
        return found


def _cgroup_seconds(pid: int) -> float:
    """CPU seconds of the container that a process is the init of; 0 where the kernel does not tell."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        container = re.sub(r"/init\.scope$|/ns/.*$", "", path)
        for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            stat = Path(f"{root}{container}/cpu.stat")
            if not controllers and stat.exists():
                found = re.search(r"^usage_usec (\d+)$", stat.read_text(), re.MULTILINE)
                if found:
                    return int(found[1]) / 1e6
        usage = Path(f"/sys/fs/cgroup/cpuacct{container}/cpuacct.usage")
        if "cpuacct" in controllers and usage.exists():
            return int(usage.read_text()) / 1e9
    return 0.0


def is_up(world: World) -> bool:
    """Whether there is something to measure."""
    return world.state.ssh_config.exists() and ssh_config.NODE in ssh_config.aliases(world.state)
