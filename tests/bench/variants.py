"""What is measured: each way to do a job, as a command line whose outcome is judged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aihub import ssh
from aihub.model.resolved import Hub
from floor import script
from measure import Variant, ended_well, last_line
from ruamel.yaml import YAML
from world import BIN, World

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHARING = ("ControlMaster", "ControlPath", "ControlPersist")


def noop(world: World, build: Path) -> list[Variant]:
    """No-op convergence of the guests: the floor, aihub, and ansible-playbook tuned as far as it goes."""
    prepared = build / "bench-floor.json"
    prepared.write_text(json.dumps(prepare(world)))
    floor = {**world.env, "BENCH_FLOOR": str(prepared), "BENCH_SSH_CONFIG": str(world.state.ssh_config)}
    python = sys.executable
    here = {**world.env, "PYTHONPATH": str(HERE)}
    cold, warm = world.close_connections, world.open_connections
    return [
        Variant("floor-py", [python, str(HERE / "floor.py")], nothing_differs, {**floor, "BENCH_SSH": "cold"}),
        Variant("aihub", [python, str(HERE / "noop.py")], nothing_to_change, here, cold),
        Variant(
            "floor-py warm",
            [python, str(HERE / "floor.py")],
            nothing_differs,
            {**floor, "BENCH_SSH": "warm"},
            warm,
        ),
        Variant("aihub warm", [python, str(HERE / "noop.py")], nothing_to_change, here, warm),
        ansible(world, build),
    ]


def ansible(world: World, build: Path) -> Variant:
    """ansible-playbook over the same roles: 20 forks, pipelining, warm connections, no facts."""
    env = {
        **world.env,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_FORKS": "20",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_STRATEGY": "free",
        "ANSIBLE_SSH_ARGS": "",
        "ANSIBLE_SSH_COMMON_ARGS": f"-F {world.state.ssh_config}",
        "ANSIBLE_HOME": str(build / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
    }
    argv = [str(BIN / "ansible-playbook"), "-i", "inventory/hosts", "playbooks/site.yml"]
    return Variant("ansible-playbook tuned", argv, recap_unchanged, env, world.open_connections)


def checks(world: World, build: Path) -> list[Variant]:
    """Sixty checks on six guests."""
    guests = list(world.hub.guests)[:6]
    alone = build / "bench-ssh-config"  # testinfra shares no connection unless a ControlPath says where
    lines = world.state.ssh_config.read_text().splitlines()
    alone.write_text("\n".join(line for line in lines if not line.strip().startswith(SHARING)) + "\n")
    common = {**world.env, "BENCH_GUESTS": ",".join(guests), "PYTHONPATH": str(HERE / "ten")}

    def suite(
        name: str, way: str, file: str, *options: str, config: Path, most: int = 1000, warm: bool = False
    ) -> Variant:
        settings = str(ROOT / "python" / "aihub" / "checks" / "pytest.ini")
        pytest = [sys.executable, "-m", "pytest", "-q", "-c", settings, "--rootdir", str(ROOT)]
        argv = [*pytest, *options, str(HERE / "ten" / file)]
        env = {**common, "BENCH_WAY": way, "BENCH_SSH_CONFIG": str(config)}
        before = world.open_connections if warm else world.close_connections
        return Variant(name, argv, sixty_passed, env, before, most)

    ours = world.state.ssh_config
    subjects = [option for guest in guests for option in ("--subject", guest)]
    hosts = "--hosts=" + ",".join(f"ssh://{guest}" for guest in guests)
    return [
        suite("pytest, one batched fetch", "fetched", "test_fetched.py", config=ours),
        suite("aihub", "aihub", "test_host.py", *subjects, config=ours),
        suite("batched fetch, warm", "fetched", "test_fetched.py", config=ours, warm=True),
        suite("aihub, warm", "aihub", "test_host.py", *subjects, config=ours, warm=True),
        suite(
            "testinfra + ControlPath",
            "stock",
            "test_host.py",
            hosts,
            f"--ssh-config={ours}",
            config=ours,
            most=2,
        ),
        suite(
            "testinfra as it comes",
            "stock",
            "test_host.py",
            hosts,
            f"--ssh-config={alone}",
            config=alone,
            most=2,
        ),
    ]


def whole(world: World) -> list[Variant]:
    """aihub's verbs on a hub with nothing to change."""
    return [
        Variant("aihub --help", world.aihub("--help"), ended_well, world.env),
        Variant("plan (load, read, compare)", world.aihub("plan", "--json"), ended_well, world.env),
    ]


def prepare(world: World) -> dict[str, object]:
    """What the floor's guests compare, from their manifests, and the variables that its templates get."""
    env = {**os.environ, **world.env}
    shown = subprocess.run(
        world.aihub("inventory"), env=env, capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    variables = plain(json.loads(shown)["_meta"]["hostvars"])
    scripts = {}
    for name in world.hub.guests:
        found = json.loads(ssh.run(world.state, name, "cat /etc/hub/manifest.json").stdout)
        entries, units = [], set()
        for entry in found["entries"].values():
            units |= {unit for unit, state in entry["units"].items() if state["active"] == "active"}
            for path, state in entry["files"].items():
                if state and re.fullmatch("[0-9a-f]{64}", state["content"]):
                    entries.append(
                        {"path": path, "sha256": state["content"], **{k: state[k] for k in ("mode", "owner")}}
                    )
        scripts[name] = script(entries, sorted(units), bool(world.hub.on(name)))
    shared = {**role_values(), **stack_values(world.hub)}
    given = {name: {**shared, **variables.get(name, {})} for name in world.hub.guests}
    return {"variables": given, "scripts": scripts}


def role_values() -> dict[str, Any]:
    """What roles know by themselves: their defaults and variables."""
    found: dict[str, Any] = {}
    for source in sorted(ROOT.glob("roles/*/defaults/main.yml")) + sorted(ROOT.glob("roles/*/vars/main.yml")):
        found |= YAML(typ="safe").load(source) or {}
    return found


def stack_values(hub: Hub) -> dict[str, Any]:
    """What the stacks' files are rendered with, as plain data."""
    return {
        "zones": {name: {"subnet": str(zone.subnet)} for name, zone in hub.zones.items()},
        "client_subnets": [str(zone.subnet) for zone in hub.zones.values() if zone.internet == "none"],
        "egress_hosts": list(hub.egress_hosts),
        "consumers": [asdict(consumer) for consumer in hub.consumers],
    }


def plain(value: object) -> Any:
    """Inventory values without Ansible's mark for texts that are no templates."""
    if isinstance(value, dict):
        inner = value.get("__ansible_unsafe")
        return inner if isinstance(inner, str) else {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def nothing_differs(done: subprocess.CompletedProcess[str]) -> str:
    """The floor found every guest as it should be."""
    if done.returncode != 0:
        return ended_well(done)
    differ = json.loads(done.stdout)["differ"]
    return f"{differ} guests differ" if differ else ""


def nothing_to_change(done: subprocess.CompletedProcess[str]) -> str:
    """aihub found every guest as it should be."""
    if done.returncode != 0:
        return ended_well(done)
    found = json.loads(done.stdout)
    pending = [*found["changes"], *(f"unknown: {name}" for name in found["unknown"])]
    return f"{len(pending)} pending: {pending[0]}" if pending else ""


def recap_unchanged(done: subprocess.CompletedProcess[str]) -> str:
    """Ansible changed nothing and failed nowhere."""
    rows = re.findall(
        r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", done.stdout, re.MULTILINE
    )
    if done.returncode != 0 or not rows:
        return f"exit code {done.returncode}: {last_line(done)}"
    if all(set(row[1:]) == {"0"} for row in rows):
        return ""
    task = re.search(r"^TASK \[([^]]*)\][^\n]*\n(?:(?!TASK ).*\n)*?changed: \[([^]]*)\]", done.stdout, re.MULTILINE)
    return f"not unchanged: {task[1]} on {task[2]}" if task else "failed or unreachable"


def sixty_passed(done: subprocess.CompletedProcess[str]) -> str:
    """Exactly sixty checks ran and passed."""
    found = re.search(r"^(\d+) passed", done.stdout.splitlines()[-1] if done.stdout else "")
    return "" if done.returncode == 0 and found and found[1] == "60" else last_line(done)
