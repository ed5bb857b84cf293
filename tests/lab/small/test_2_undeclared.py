"""What is there and not declared is seen until it is gone, and what was broken by hand is named and mended."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cli import Cli
from tests.lab.small.test_2_edits import Files, answer, come_true, files
from tests.lab.watch import ours_running, wait_for

__all__ = ["files"]
pytestmark = pytest.mark.lab

STARTED = "docker ps --quiet | xargs --no-run-if-empty docker inspect --format '{{.Name}} {{.State.StartedAt}}'"
THERE = """docker ps --all --format 'container {{.Names}}'
docker network ls --format 'network {{.Name}}'
ls -d /etc/systemd/system/hub-* /etc/systemd/system/multi-user.target.wants/hub-* /opt/hub/* /run/hub/* 2>/dev/null
systemctl list-units --all --plain --no-legend 'hub-*' | cut -d' ' -f1,3,4
nft list tables
true"""


def there(hub: Cli, guest: str) -> list[str]:
    """What other tools see on a guest of stacks, units, networks and rules."""
    return sorted(hub.on(guest, THERE).splitlines())


def started(hub: Cli, guest: str) -> dict[str, str]:
    """Each running container, and since when."""
    return dict(line.split() for line in hub.on(guest, STARTED).splitlines())


def planned(hub: Cli) -> dict[str, str]:
    """By guest or instance, what the plan says."""
    code, found = hub.plan()
    assert code == 3, json.dumps(found, indent=1)
    texts: dict[str, str] = {}
    for change in found["changes"]:
        holder = change["subject"].partition(": ")[0]
        texts[holder] = f"{texts.get(holder, '')}\n{change['action']} {change['subject']}: {change['summary']}"
    return texts


def strange(hub: Cli) -> list[str]:
    """What the plan calls undeclared and leaves alone."""
    return [f"{one['guest']}: {one['what']}" for one in hub.plan()[1]["undeclared"] if not one["ours"]]


@pytest.fixture
def without_notes(files: Files, hub: Cli) -> Iterator[Path]:
    """The folder of the notes, which a test may take away."""
    kept = files.folder / "kept"
    shutil.copytree(hub.stacks / "notes", kept)
    yield hub.stacks / "notes"
    if not (hub.stacks / "notes").exists():
        kept.rename(hub.stacks / "notes")
    shutil.rmtree(kept, ignore_errors=True)


UNIT = "/etc/systemd/system/hub-cap.service"
CAP = f"printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/true\\n' >{UNIT}"


def test_a_stack_leaves_though_its_folders_are_gone_here_and_there(hub: Cli, files: Files, without_notes: Path):
    """And a unit that is called like ours and is not stays, and is named."""
    before, said = there(hub, "app"), answer(hub, "app")
    hub.on("app", f"rm -r /opt/hub/notes; {CAP}; systemctl daemon-reload; systemctl start hub-cap")
    try:
        files.edit("hub.yml", "stacks: [client, notes]", "stacks: [client]")
        shutil.rmtree(without_notes)
        plan = planned(hub)
        assert "stack/notes is no longer declared: it stops, its data stays" in plan["app"]
        assert "container notes-notes-1" in plan["app"]
        status = json.loads(hub.ok("status", "--json"))
        assert [one["ours"] for one in status["undeclared"] if "stack/notes" in one["what"]] == [True]
        verified = hub("verify", "--json", "app")
        assert verified.returncode == 7, "it runs, and nobody declares it"
        assert "stack/notes" in verified.stdout

        come_true(hub, "app")
        now = there(hub, "app")
        assert [line for line in now if "notes" in line] == []
        assert [line for line in now if "hub-cap.service" in line], "it is somebody's"
        assert "app: unit hub-cap.service is not ours and is left alone" in strange(hub)
        assert hub.on("app", "cat /var/lib/hub/notes/data/starts")
    finally:
        hub.on("app", f"systemctl stop hub-cap; rm -f {UNIT}; systemctl daemon-reload")
        files.put_back(hub) if without_notes.exists() else None
    (files.folder / "kept").rename(without_notes)
    files.put_back(hub)
    come_true(hub, "app")
    assert there(hub, "app") == before
    assert answer(hub, "app") == said


def test_a_stack_that_no_manifest_lists_is_seen_and_goes(hub: Cli, files: Files):
    """Both were lost: what is declared is recorded again and goes on running, what is not leaves."""
    before, since = there(hub, "app"), started(hub, "app")
    hub.on("app", "rm /etc/hub/manifest.json")
    files.edit("hub.yml", "stacks: [client, notes]", "stacks: [client]")
    plan = planned(hub)
    assert "its manifest is missing" in plan["app"]
    assert "stack/notes is no longer declared" in plan["app"]
    come_true(hub, "app")
    assert [line for line in there(hub, "app") if "notes" in line] == []
    assert started(hub, "app") == {name: at for name, at in since.items() if "notes" not in name}
    files.put_back(hub)
    come_true(hub, "app")
    assert there(hub, "app") == before


def test_a_lost_manifest_is_written_again_and_restarts_nothing(hub: Cli):
    """On the guest of the store, too: it is not taken for a new one."""
    since = started(hub, "security")
    hub.on("security", "rm /etc/hub/manifest.json")
    plan = planned(hub)
    assert "its manifest is missing: all roles, what is right goes on" in plan["security"]
    assert set(plan) == {"security"}, plan
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0
    assert started(hub, "security") == since


BROKEN = {
    "docker rm --force --volumes client-client-1": "container client-client-1 is missing",
    "docker stop notes-notes-1": "container notes-notes-1 is exited, not running",
    "rm -r /opt/hub/client": "file /opt/hub/client/compose.yml is missing",
    "systemctl disable hub-notes.service": "unit hub-notes.service is disabled at boot, not enabled",
    "systemctl mask docker.service": "unit docker.service is masked at boot, not enabled",
    "systemctl disable logrotate.timer": "unit logrotate.timer is disabled at boot, not enabled",
    "chown 4242 /var/lib/hub/notes/data": "file /var/lib/hub/notes/data: owner is 4242:1001, not 1001:1001",
    "rm /etc/sysctl.d/60-hub.conf": "file /etc/sysctl.d/60-hub.conf is missing",
    "echo >>/etc/ssh/sshd_config.d/10-hub.conf": "file /etc/ssh/sshd_config.d/10-hub.conf changed",
    "nft add rule inet hub inbound accept": "nft table inet hub has other rules",
}


def test_everything_that_was_broken_by_hand_is_named_and_mended_by_one_run(hub: Cli):
    before, since, other = there(hub, "app"), started(hub, "app"), started(hub, "security")
    hub.on("app", "; ".join(f"{{ {command}; }}" for command in BROKEN))
    plan = planned(hub)
    assert [text for text in BROKEN.values() if text not in plan["app"]] == [], plan["app"]
    assert set(plan) == {"app"}
    hub.ok("up", "--no-verify")
    code, left = hub.plan()
    assert (code, left["changes"]) == (0, []), json.dumps(left, indent=1)
    assert there(hub, "app") == before
    assert started(hub, "app").keys() == since.keys()
    assert started(hub, "security") == other
    mended = "systemctl is-enabled docker hub-notes logrotate.timer; stat -c %u /var/lib/hub/notes/data"
    assert hub.on("app", mended).split() == ["enabled", "enabled", "enabled", "1001"]


BY_HAND = """docker run --detach --name probe --entrypoint sleep valkey/valkey:8.1.9 1000
docker network create --opt com.docker.network.bridge.name=mine0 mine
docker volume create mine
nft add table inet mine"""
GONE = "docker rm --force --volumes probe; docker network rm mine; docker volume rm mine; nft delete table inet mine"


def test_what_somebody_starts_by_hand_is_named_everywhere_and_left_alone(hub: Cli):
    before, already = there(hub, "app"), set(strange(hub))  # volumes that `docker rm` left in another test
    hub.on("app", f"set -e; {BY_HAND}")
    try:
        wanted = [
            f"app: {kind} is not ours and is left alone"
            for kind in ("container probe", "network mine", "table inet mine", "volume mine")
        ]
        assert sorted(set(strange(hub)) - already) == wanted
        assert hub.plan()[0] == 0, "it is nobody's to change"
        assert "undeclared: container probe" in hub.ok("plan")
        assert "undeclared: container probe" in hub.ok("status")
        verified = hub("verify", "app")
        assert verified.returncode == 7
        assert "undeclared: volume mine" in verified.stdout
        hub.ok("up", "--no-verify", "--full")
        assert hub.on("app", "docker ps --format '{{.Names}}'").split().count("probe") == 1
    finally:
        hub.on("app", f"{GONE}")
    assert set(strange(hub)) == already
    assert there(hub, "app") == before


def test_a_guest_that_loses_its_last_stack_keeps_nothing_running_of_it(hub: Cli, files: Files):
    """Docker stops as well: nothing else needs it. With a container that is nobody's it stays, and the plan says so."""
    before, said = there(hub, "app"), answer(hub, "app")
    files.edit("hub.yml", ", stacks: [client, notes]", "")
    plan = planned(hub)
    assert "docker is no longer needed" in plan["app"]
    assert "its packages and what they keep stay" in plan["app"]
    assert "door is no longer needed: it goes" in plan["app"]
    come_true(hub, "app")
    assert hub.on("app", "nft list tables") == "table inet hub"
    assert (
        hub.on(
            "app", "systemctl is-active docker.service docker.socket containerd.service hub-local.service || true"
        ).split()
        == ["inactive"] * 4
    )
    assert hub.on("app", "ip -brief link | grep -c docker0 || true") == "0"
    assert [line for line in there(hub, "app") if "hub-agent" not in line and "hub-firewall" not in line] == [
        "/run/hub/agent",
        "/run/hub/machine",
        "table inet hub",
    ]
    hub.ok("verify", "app")
    files.put_back(hub)
    come_true(hub, "app")
    assert there(hub, "app") == before
    assert answer(hub, "app") == said


def test_a_plan_names_all_that_an_edit_does_to_the_store_and_at_providers(hub: Cli, files: Files):
    """Before anything is done: entries that go, logins that end, what restarts, and which image, key or file it is."""
    files.edit("hub.yml", "stacks: [client, notes]", "stacks: [notes]")
    files.edit("stacks/notes/stack.yml", "api_key: {length: 48, rotate: 30d}", "other: {length: 48, rotate: 30d}")
    files.edit("stacks/notes/compose.yml", 'NOTES_SETTING: "one"', 'NOTES_SETTING: "two"')
    files.add("stacks/notes/config/words", "second\n")
    _, found = hub.plan()
    shown = {(c["subject"], c["action"]) for c in found["changes"]}
    gone = [subject for subject, action in shown if action == "delete"]
    assert [one for one in gone if "notes" in one and "api_key" in one], shown
    assert ("redis@security: ACL user client_app_main", "update") in shown, "it gets in no more, its keys stay"
    assert [one for one in gone if one.startswith("vault@security: entry ") and "client" in one], shown
    (app,) = [c for c in found["changes"] if (c["subject"], c["owner"]) == ("app", "insides")]
    assert "compose.yml: notes.environment changed" in app["summary"]
    assert "config/words changed" in app["summary"]
    assert "agent.json" in app["summary"] or "vault_agent_config changed" in app["summary"]
    assert app["restarting"] == ["client@app", "notes@app"]
    files.put_back(hub)
    assert hub.plan()[0] == 0


REFUSED = {
    "domain": ("domain: small.home.arpa", "domain: other.home.arpa", "root certificate"),
    "name": ("hub: {name: small", "hub: {name: other", "holds the hub small"),
}


@pytest.mark.parametrize("edit", REFUSED)
def test_another_name_or_domain_is_refused_and_leaves_no_trace(hub: Cli, files: Files, edit: str):
    old, new, said = REFUSED[edit]
    before = sorted(map(str, [*hub.state.rglob("*"), *Path("/run").glob("aihub-*")]))
    files.edit("hub.yml", old, new)
    for verb in (["plan"], ["up", "--no-verify"]):
        done = hub(*verb)
        assert done.returncode == 4, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert said in done.stderr
        assert "next: " in done.stderr
    assert sorted(map(str, [*hub.state.rglob("*"), *Path("/run").glob("aihub-*")])) == before
    files.put_back(hub)
    assert hub.plan()[0] == 0


def test_ctrl_c_leaves_no_worker_of_ansible(hub: Cli):
    first = hub.start("up", "--full", "--no-verify")
    wait_for(lambda: len(ours_running(hub, "ansible")) > 2, 120, "Ansible has begun")
    os.killpg(first.pid, signal.SIGINT)
    out, _ = first.communicate(timeout=40)
    assert first.returncode == 130, out[-3000:]
    wait_for(lambda: not ours_running(hub, "ansible"), 15, f"its workers end with it: {ours_running(hub, 'ansible')}")
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0
