"""One command makes a hub that answers; a second one finds nothing to do."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

from tests.lab.cli import ROOT

pytestmark = pytest.mark.lab


def containers(cli) -> dict[str, str]:
    """Each container with the moment it was started."""
    found = {}
    for guest in ("db", "cache", "private-data", "private-ai"):
        text = cli.ssh(guest, "docker ps -q | xargs -r docker inspect -f '{{.Name}} {{.State.StartedAt}}'")
        found |= {f"{guest}{line.split()[0]}": line.split()[1] for line in text.splitlines()}
    return found


def test_one_command_brings_up_nine_guests_with_every_check_green(hub, first_up, api):
    ours = [g for g in api("GET", "/cluster/resources", type="vm") if g.get("pool") == "hub-aihub"]
    assert {g["name"] for g in ours} == {
        "db",
        "cache",
        "security",
        "cicd",
        "monitoring",
        "backup",
        "private-data",
        "private-ai",
        "public-ai",
    }
    assert {g["status"] for g in ours} == {"running"}
    summary = re.search(r"^(\d+) checks: (\d+) passed, (\d+) skipped$", first_up.stdout, re.MULTILINE)
    assert summary, first_up.stdout[-3000:]
    assert int(summary[1]) == int(summary[2]) + int(summary[3]) >= 600
    section = first_up.stdout.partition("\nskipped:\n")[2].partition("\n\n")[0]
    skipped = section.split("○")[1:]
    assert len(skipped) == int(summary[3]), section
    assert all("card" in one for one in skipped), section  # no card of a lab computes


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
    hub.ok("up", "--no-verify")
    assert api.writes() == writes
    assert containers(hub) == before


def test_a_wall_that_fell_turns_the_checks_red(hub):
    """The small hub has no zone that is closed to the outside."""
    hub.ssh("node", "nft insert rule inet hub_aihub passing accept")
    try:
        done = hub("verify", "--json", "zones")
        assert done.returncode == 7
        failed = {c["subject"] for c in json.loads(done.stdout)["checks"] if c["outcome"] == "failed"}
        assert any("private" in subject or "zone" in subject for subject in failed), failed
    finally:
        hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0


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


def test_what_opens_the_hub_is_its_owner_s_alone(hub, inside):
    state = inside.state
    kits = list(state.kit.iterdir())
    for path in (state.token, state.key, state.vault_login, *kits):
        assert path.stat().st_mode & 0o077 == 0, path
    assert kits
    assert state.directory.stat().st_uid == os.geteuid()
