"""One command makes a hub that answers; a second one finds nothing to do; drift is named and repaired."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab
ROOT = Path(__file__).resolve().parents[2]


def containers(cli) -> dict[str, str]:
    """Each container with the moment it was started."""
    found = {}
    for guest in ("db", "cache", "private-ai"):
        text = cli.ssh(guest, "docker ps -q | xargs -r docker inspect -f '{{.Name}} {{.State.StartedAt}}'")
        found |= {f"{guest}{line.split()[0]}": line.split()[1] for line in text.splitlines()}
    return found


def test_one_command_brings_up_eight_guests_with_every_check_green(hub, first_up, api):
    ours = [g for g in api("GET", "/cluster/resources", type="vm") if g.get("pool") == "hub-aihub"]
    assert {g["name"] for g in ours} == {
        "db",
        "cache",
        "security",
        "cicd",
        "monitoring",
        "backup",
        "private-ai",
        "public-ai",
    }
    assert {g["status"] for g in ours} == {"running"}
    summary = re.search(r"^(\d+) checks: (\d+) passed", first_up.stdout, re.MULTILINE)
    assert summary, first_up.stdout[-3000:]
    assert int(summary[1]) == int(summary[2]) >= 200


def test_the_guests_are_real_machines(hub):
    assert hub.ssh("db", "cat /proc/1/comm") == "systemd"
    assert hub.ssh("db", "cat /proc/1/uid_map").split()[:2] == ["0", "100000"], "an LXC guest runs under a uid map"
    assert "trixie" in hub.ssh("private-ai", "cat /etc/os-release")


def test_a_second_look_finds_nothing_to_change(hub):
    code, plan = hub.plan()
    assert plan["changes"] == []
    assert plan["unknown"] == []
    assert code == 0


def test_a_second_up_writes_nothing_and_restarts_nothing(hub, api):
    before, writes = containers(hub), api.writes()
    hub.ok("up")
    assert api.writes() == writes
    assert containers(hub) == before


def test_the_playbook_works_by_itself(hub):
    env = {**hub.env, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    command = ["ansible-playbook", "-i", "inventory/hosts", "playbooks/site.yml", "--limit", "db,cache"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"db\s+: ok=\d+\s+changed=0 ", done.stdout), done.stdout[-1500:]


def test_a_stacks_checks_run_by_themselves(hub):
    env = {**hub.env}
    done = subprocess.run(
        ["python", "-m", "pytest", "-q", "stacks/redis"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"[1-9]\d* passed", done.stdout)


EARLIER = """
import hashlib, json, os
text, place = "# of an earlier version of the stack\\n", "/opt/hub/redis/config/earlier.conf"
with open(place, "w") as handle:
    handle.write(text)
os.chmod(place, 0o644)
with open("/etc/hub/manifest.json") as handle:
    manifest = json.load(handle)
state = {"content": hashlib.sha256(text.encode()).hexdigest(), "mode": "0644", "owner": "0:0"}
manifest["entries"]["stack/redis"]["files"][place] = state
with open("/etc/hub/manifest.json", "w") as handle:
    json.dump(manifest, handle)
print(place)
"""


def test_drift_made_by_hand_is_named_and_exactly_that_is_repaired(hub, api):
    """Memory through the API, a stopped guest, an edited sshd_config, a deleted container; and what an earlier version
    of a stack placed goes with the repair.
    """
    before = containers(hub)
    earlier = hub.on("cache", "python3 -", EARLIER)
    api("PUT", "/nodes/pve/lxc/112/config", memory=1024)
    assert api.wait(api("POST", "/nodes/pve/lxc/113/status/stop")) == "OK"
    hub.ssh("monitoring", "echo 'MaxAuthTries 9' >> /etc/ssh/sshd_config")
    hub.ssh("cache", "docker rm -f $(docker ps -q --filter label=com.docker.compose.project=redis)")

    code, plan = hub.plan()
    assert code == 3
    subjects = {c["subject"].split("@")[-1] for c in plan["changes"]}
    assert subjects == {"security", "cicd", "monitoring", "cache"}, json.dumps(plan, indent=1)

    done = hub("up", "--no-verify")
    assert done.returncode == 0, done.stderr
    assert "not verified" in done.stderr
    assert int(api("GET", "/nodes/pve/lxc/112/config")["memory"]) != 1024
    assert api("GET", "/nodes/pve/lxc/113/status/current")["status"] == "running"
    assert "MaxAuthTries 9" not in hub.ssh("monitoring", "cat /etc/ssh/sshd_config")
    assert hub.on("cache", f"test -e {earlier} || echo gone") == "gone"
    after = containers(hub)
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} == {
        next(n for n in before if n.startswith("cache/redis"))
    }
    assert hub.plan()[0] == 0


def test_a_tag_a_firewall_rule_and_a_deleted_guest_are_drift_too(hub, api):
    api("PUT", "/nodes/pve/lxc/114/config", tags="by-hand")
    hub.ssh("security", "nft insert rule inet hub inbound accept")
    assert api.wait(api("POST", "/nodes/pve/lxc/115/status/stop")) == "OK"
    assert api.wait(api("DELETE", "/nodes/pve/lxc/115")) == "OK"

    code, plan = hub.plan()
    assert code == 3
    assert {c["subject"] for c in plan["changes"]} >= {"monitoring", "security", "backup"}, json.dumps(plan, indent=1)
    hub.ok("up", "--no-verify")
    assert "by-hand" not in api("GET", "/nodes/pve/lxc/114/config").get("tags", "")
    assert "backup" in {g["name"] for g in api("GET", "/cluster/resources", type="vm")}
    assert hub.plan()[0] == 0


def test_a_wall_of_the_node_that_fell_is_drift(hub):
    hub.ssh("node", "nft delete table inet hub_aihub")
    code, plan = hub.plan()
    assert code == 3
    assert {c["owner"] for c in plan["changes"]} == {"node"}, json.dumps(plan, indent=1)
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0


def test_a_rebooted_guest_comes_back_alone(hub, api):
    """Its secrets come from the vault by its own agent: nobody has to be there."""
    before = hub.on("db", "cut -d' ' -f22 /proc/1/stat")
    assert api.wait(api("POST", "/nodes/pve/lxc/110/status/reboot")) == "OK"
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        done = hub("ssh", "db", "--", "cut -d' ' -f22 /proc/1/stat; docker ps --format '{{.Names}} {{.Status}}'")
        born, _, running = done.stdout.strip().partition("\n")
        if done.returncode == 0 and born != before and "(healthy)" in running:
            break
        time.sleep(1)
    else:
        raise AssertionError(f"postgres did not come back: {done.stdout} {done.stderr}")
    assert hub.on("db", "stat -f -c %T /run/hub/postgres") == "tmpfs"
    hub.settles()


def test_verify_fails_when_a_promise_is_broken(hub):
    """Each of these checks must be able to go red."""
    hub.ssh(
        "security",
        "sed -i 's/^PasswordAuthentication no/PasswordAuthentication yes/' /etc/ssh/sshd_config.d/10-hub.conf",
    )
    hub.ssh("db", "docker stop $(docker ps -q)")
    hub.ssh("node", "nft insert rule inet hub_aihub passing accept")
    try:
        done = hub("verify", "--json", "security", "db", "zones")
        assert done.returncode == 7
        failed = {(c["subject"], c["claim"]) for c in json.loads(done.stdout)["checks"] if c["outcome"] == "failed"}
        subjects = {subject for subject, _ in failed}
        assert any(s == "security" for s in subjects), failed
        assert any("postgres" in s for s in subjects), failed
        assert any("private" in s or "zone" in s for s in subjects), failed
    finally:
        hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0


def test_one_secret_in_one_file_turns_the_checks_red(hub, inside, resolved):
    """The value of a pair, in hex, in a file of a guest that may not even read it."""
    ref = next(ref for ref in resolved.secrets if ref.kind == "pair" and ref.instance == "redis@cache")
    value = inside.vault.read(ref.path).data["a"]
    place = "/root/notes.txt"
    hub.on("cicd", f"umask 077; cat > {place}", f"remember: {value.encode().hex()}\n")
    try:
        done = hub("verify", "--json", "cicd")
        assert done.returncode == 7
        (failed,) = [c for c in json.loads(done.stdout)["checks"] if c["outcome"] == "failed"]
        assert failed["claim"].startswith("no secret is in its files")
        assert place in failed["message"]
        assert ref.path in failed["message"]
        assert value not in done.stdout + done.stderr
    finally:
        hub.on("cicd", f"rm {place}")
    hub.ok("verify", "cicd")


def test_what_opens_the_hub_is_its_owner_s_alone(hub, inside):
    state = inside.state
    kits = list(state.kit.iterdir())
    for path in (state.token, state.key, state.vault_login, *kits):
        assert path.stat().st_mode & 0o077 == 0, path
    assert kits
    assert state.directory.stat().st_uid == os.geteuid()
