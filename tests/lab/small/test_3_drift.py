"""Drift is named and repaired, and nothing else; checks can fail; a rebooted guest comes back alone."""

from __future__ import annotations

import json
import re
import subprocess
import time

import pytest

from tests.lab.cli import ROOT, Api, Cli
from tests.lab.watch import ours_running

pytestmark = pytest.mark.lab


def containers(hub: Cli) -> dict[str, str]:
    """Each container with the moment it was started."""
    found = {}
    for guest in ("security", "app"):
        text = hub.ssh(guest, "docker ps -q | xargs -r docker inspect -f '{{.Name}} {{.State.StartedAt}}'")
        found |= {f"{guest}{line.split()[0]}": line.split()[1] for line in text.splitlines()}
    return found


def test_a_second_up_verifies_writes_nothing_and_restarts_nothing(hub: Cli, api: Api):
    before, writes = containers(hub), api.writes()
    hub.ok("up")
    assert api.writes() == writes
    assert containers(hub) == before


def test_the_playbook_works_by_itself(hub: Cli):
    env = {**hub.env, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    command = ["ansible-playbook", "-i", "inventory/hosts", "playbooks/site.yml", "--limit", "security,app"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"security\s+: ok=\d+\s+changed=0 ", done.stdout), done.stdout[-1500:]


EARLIER = """
import hashlib, json, os
text, place = "# of an earlier version of the stack\\n", "/opt/hub/notes/config/earlier.conf"
with open(place, "w") as handle:
    handle.write(text)
os.chmod(place, 0o644)
with open("/etc/hub/manifest.json") as handle:
    manifest = json.load(handle)
state = {"content": hashlib.sha256(text.encode()).hexdigest(), "mode": "0644", "owner": "0:0"}
manifest["entries"]["stack/notes"]["files"][place] = state
with open("/etc/hub/manifest.json", "w") as handle:
    json.dump(manifest, handle)
print(place)
"""


def test_drift_made_by_hand_is_named_and_exactly_that_is_repaired(hub: Cli, api: Api):
    """Memory through the API, an edited sshd_config, a deleted container; and what an earlier version of a stack placed
    goes with the repair.
    """
    before = containers(hub)
    earlier = hub.on("app", "python3 -", EARLIER)
    api("PUT", "/nodes/pve/lxc/310/config", memory=1024)
    hub.ssh("security", "echo 'MaxAuthTries 9' >> /etc/ssh/sshd_config")
    hub.ssh("app", "docker rm -f $(docker ps -q --filter label=com.docker.compose.project=notes)")

    code, plan = hub.plan()
    assert code == 3
    named = {(c["owner"], c["subject"]) for c in plan["changes"]}
    assert named == {("guests", "security"), ("insides", "security"), ("insides", "app")}, json.dumps(plan, indent=1)

    done = hub("up", "--no-verify")
    assert done.returncode == 0, done.stderr
    assert "not verified" in done.stderr
    assert int(api("GET", "/nodes/pve/lxc/310/config")["memory"]) == 2048
    assert "MaxAuthTries 9" not in hub.ssh("security", "cat /etc/ssh/sshd_config")
    assert hub.on("app", f"test -e {earlier} || echo gone") == "gone"
    after = containers(hub)
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} == {"app/notes-notes-1"}
    assert hub.plan()[0] == 0


def test_a_stopped_guest_a_tag_a_card_and_a_firewall_rule_are_drift_too(hub: Cli, api: Api):
    assert api.wait(api("POST", "/nodes/pve/qemu/311/status/stop")) == "OK"
    api("PUT", "/nodes/pve/lxc/310/config", tags="by-hand", net1="name=eth1,bridge=vmbr0,ip=manual")
    hub.ssh("security", "nft insert rule inet hub inbound accept")

    code, plan = hub.plan()
    assert code == 3
    assert {c["subject"] for c in plan["changes"]} >= {"security", "app"}, json.dumps(plan, indent=1)
    hub.ok("up", "--no-verify")
    assert api("GET", "/nodes/pve/qemu/311/status/current")["status"] == "running"
    found = api("GET", "/nodes/pve/lxc/310/config")
    assert "by-hand" not in found.get("tags", "")
    assert "net1" not in found, "a way into another network that nobody declared"
    assert hub.plan()[0] == 0
    assert "policy drop" in hub.ssh("security", "nft list chain inet hub inbound | grep -v 'accept$' | head -n 3")


def test_a_deleted_guest_is_made_again_from_a_stock_image(hub: Cli, api: Api):
    """As on a real node: nothing of what the roles install was baked into it."""
    assert api.wait(api("POST", "/nodes/pve/qemu/311/status/stop")) == "OK"
    assert api.wait(api("DELETE", "/nodes/pve/qemu/311")) == "OK"
    code, plan = hub.plan()
    assert (code, "create") == (3, next(c["action"] for c in plan["changes"] if c["subject"] == "app"))
    hub.ok("up", "--stock")
    assert {g["name"] for g in api("GET", "/cluster/resources", type="vm") if g.get("pool")} == {"security", "app"}
    assert hub.plan()[0] == 0


FALLEN = {
    "the walls between zones": "nft delete table inet hub_small",
    "an address at a guest's port": "nft add element bridge hub_small addresses '{ \"veth310i0\" . 10.20.10.99 }'",
    "whom the node believes": "nft flush chain arp hub_small asked",
    "what a bridge learns unfiltered": "echo 0 >/sys/class/net/hubinfra/bridge/group_fwd_mask",
}


@pytest.mark.parametrize("wall", FALLEN)
def test_a_wall_of_the_node_that_fell_is_drift(hub: Cli, wall: str):
    hub.ssh("node", FALLEN[wall])
    code, plan = hub.plan()
    assert code == 3
    assert {c["owner"] for c in plan["changes"]} == {"node"}, json.dumps(plan, indent=1)
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0


def test_a_rebooted_guest_comes_back_alone(hub: Cli, api: Api):
    """Its secrets come from the vault by its own agent: nobody has to be there."""
    before = hub.on("app", "cut -d' ' -f22 /proc/1/stat")
    assert ours_running(hub) == []
    assert api.wait(api("POST", "/nodes/pve/qemu/311/status/reboot")) == "OK"
    running = "cut -d' ' -f22 /proc/1/stat; docker ps --format '{{.Names}} {{.Status}}'"
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        done = hub("ssh", "app", "--", running)
        born, _, running_now = done.stdout.strip().partition("\n")
        if done.returncode == 0 and born != before and running_now.count("(healthy)") == 2:
            break
        time.sleep(1)
    else:
        raise AssertionError(f"its stacks did not come back: {done.stdout} {done.stderr}")
    assert hub.on("app", "stat -f -c %T /run/hub/notes") == "tmpfs"
    hub.settles()


def test_verify_fails_when_a_promise_is_broken(hub: Cli):
    """Each of these checks must be able to go red."""
    hub.ssh(
        "app", "sed -i 's/^PasswordAuthentication no/PasswordAuthentication yes/' /etc/ssh/sshd_config.d/10-hub.conf"
    )
    hub.ssh("security", "docker stop redis-redis-1")
    try:
        done = hub("verify", "--json", "security", "app")
        assert done.returncode == 7
        failed = {(c["subject"], c["claim"]) for c in json.loads(done.stdout)["checks"] if c["outcome"] == "failed"}
        subjects = {subject for subject, _ in failed}
        assert "app" in subjects, failed
        assert "redis@security" in subjects, failed
    finally:
        hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0


def test_one_secret_in_one_file_turns_the_checks_red(hub: Cli, inside, resolved):
    """The value of a pair, in hex, in a file of a guest that may not even read it."""
    ref = next(ref for ref in resolved.secrets if ref.kind == "pair" and ref.instance == "redis@security")
    value = inside.vault.read(ref.path).data["a"]
    place = "/root/notes.txt"
    hub.on("app", f"umask 077; cat > {place}", f"remember: {value.encode().hex()}\n")
    try:
        done = hub("verify", "--json", "app")
        assert done.returncode == 7
        (failed,) = [c for c in json.loads(done.stdout)["checks"] if c["outcome"] == "failed"]
        assert failed["claim"].startswith("no secret is in its files")
        assert place in failed["message"]
        assert ref.path in failed["message"]
        assert value not in done.stdout + done.stderr
    finally:
        hub.on("app", f"rm {place}")
    hub.ok("verify", "app")
