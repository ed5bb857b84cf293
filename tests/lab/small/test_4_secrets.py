"""Secrets of a running hub: none leaks, no guest reads another's, any is replaced at any time, nobody is needed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aihub.checks import denials, leaks
from aihub.vault.desired import desired, policy_of, text_of

from tests.lab.cli import Api, Cli
from tests.lab.small.leaks_planted import VALUE, planted
from tests.lab.watch import Counts, counts, failures, ours_running, refusals, wait_for

pytestmark = pytest.mark.lab
CLIENTS = {"app": ("client-client-1",)}
SECURITY = "/nodes/pve/lxc/310"
UNSEALED = 60.0  # seconds from the order to reboot
ROTATED = 100.0  # seconds for every secret of the hub
KILLS = 3


def logins(hub: Cli) -> Counts:
    """What the client counted since it started; it logs in twenty times a second."""
    return counts(hub, CLIENTS)


def health(hub: Cli) -> dict:
    """How the vault is, asked from the node without aihub; empty when it does not answer."""
    there = "--resolve security.small.home.arpa:8200:10.20.10.11 https://security.small.home.arpa:8200/v1/sys/health"
    text = hub.on("node", f"curl --silent --max-time 3 --cacert /etc/hub-node/small/ca.pem {there} || true")
    return json.loads(text) if text else {}


def newest_kit(hub: Cli) -> Path:
    """The recovery kit that holds what is there now; every edit of hub.yml makes one more."""
    return max(hub.directory.glob("kit/*.kit"), key=lambda path: path.stat().st_mtime_ns)


def values_of(hub: Cli) -> dict[str, str]:
    """Every secret as it is now; a context of its own, since ssh connections end with the controller's old key."""
    with hub.opened() as context:
        return dict(leaks.known(context.hub, context.state, context.vault).values)


def test_every_planted_leak_is_found_and_nothing_else(hub, inside, resolved):
    """At least twenty, one for each medium and encoding; the hub's own secrets lie nowhere."""
    known = leaks.known(resolved, inside.state, inside.vault)
    assert len(known.values) >= 10
    machines = [*resolved.guests, "node", leaks.CONTROLLER]
    with planted(hub, inside.state.directory) as expected:
        wanted = known.with_value("planted", VALUE)
        scans = leaks.everywhere(inside.state, wanted, machines, lab=hub.lab, deep=True)
        found = {machine: scans.of(machine) for machine in machines}
    assert {m: f.blind for m, f in found.items() if f.blind} == {}
    missed = [
        (machine, place, encoding)
        for machine, place, encoding in expected.expected
        if not any(
            place in hit.place and hit.encoding.startswith(encoding) and (hit.secret == "planted" or encoding == "mode")
            for hit in found[machine].hits
        )
    ]
    assert missed == []
    assert len(expected.expected) >= 20
    others = [
        f"{m} {hit}" for m, f in found.items() for hit in f.hits if hit.secret != "planted" and hit.medium != "modes"
    ]
    assert others == []
    modes = [hit.place for f in found.values() for hit in f.hits if hit.medium == "modes"]
    assert sorted(modes) == ["/run/hub/planted", "/run/hub/planted/key"]
    print({machine: f.seconds for machine, f in found.items()})


def test_no_guest_gets_at_what_is_another_s(hub, inside, resolved):
    """Every entry of everybody else, by every guest, deletions included."""
    for guest in resolved.agents:
        found = denials.ask(inside.shells.shell(guest), denials.question(resolved, guest), harmful=True)
        assert set(found.own.values()) == {200}, guest
        assert found.allowed == (), guest
    assert hub.plan()[0] == 0


def test_the_audit_log_begins_anew_each_day_and_loses_no_line(hub, inside):
    """As logrotate's own timer does it at night."""
    folder = "/var/lib/hub/vault/audit"
    assert hub.on("security", "systemctl is-active logrotate.timer") == "active"
    before, first = hub.on("security", f"ls {folder}").split(), hub.on("security", f"head -1 {folder}/audit.log")
    hub.on("security", "logrotate --force /etc/logrotate.d/hub-vault")
    inside.vault.names("kv/metadata")
    files = [line.split() for line in hub.on("security", f"cd {folder} && stat --format='%n %a %u' *").splitlines()]
    assert {(mode, owner) for _, mode, owner in files} == {("600", "100")}
    (old,) = (name for name, _, _ in files if name not in before and not name.endswith(".gz"))
    assert hub.on("security", f"head -1 {folder}/{old}") == first
    assert json.loads(hub.on("security", f"tail -1 {folder}/{old}"))
    asked = [json.loads(line)["request"]["path"] for line in hub.on("security", f"cat {folder}/audit.log").splitlines()]
    assert "kv/metadata/" in asked or "kv/metadata" in asked


def test_a_policy_that_lets_a_guest_read_another_s_entries_is_seen_named_and_repaired(hub, inside, resolved):
    instance = resolved.instance("notes@app")
    grants = desired(resolved).policies[policy_of(instance)]
    other = next(ref.path for ref in resolved.secrets if ref.instance.endswith("@security"))
    inside.vault.put_policy(policy_of(instance), text_of({**grants, f"kv/data/{other}": ("read",)}))
    found = denials.ask(inside.shells.shell("app"), denials.question(resolved, "app"))
    assert found.allowed == (f"read kv/data/{other} (200)",)
    code, plan = hub.plan()
    assert code == 3
    policy = f"vault@security: policy {policy_of(instance)}"
    assert [(c["owner"], c["subject"]) for c in plan["changes"]] == [("vault", policy)]
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0
    found = denials.ask(inside.shells.shell("app"), denials.question(resolved, "app"))
    assert found.allowed == ()


def test_a_policy_removed_by_hand_is_drift_and_repaired(hub, inside, resolved):
    name = policy_of(resolved.instance("redis@security"))
    inside.vault.delete_policy(name)
    code, plan = hub.plan()
    assert code == 3
    assert f"vault@security: policy {name}" in [c["subject"] for c in plan["changes"]], json.dumps(plan, indent=1)
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0


def test_a_revoked_guest_is_named_goes_on_and_gets_a_new_login(hub: Cli):
    before = logins(hub)
    hub.ok("secrets", "revoke", "app", "--yes")
    code, plan = hub.plan()
    assert (code, [c["subject"] for c in plan["changes"]]) == (3, ["app"]), json.dumps(plan, indent=1)
    hub.ok("up", "--no-verify")
    hub.settles()
    wait_for(lambda: all(c.works > before[who].works for who, c in logins(hub).items()), 30, "logins go on")
    assert failures(before, logins(hub)) == {}


def test_the_guest_of_vault_and_service_reboots_with_nobody_there_and_both_serve_again(hub: Cli, api: Api):
    before, born = logins(hub), hub.on("security", "cut -d' ' -f22 /proc/1/stat")
    assert ours_running(hub) == []
    started = time.monotonic()
    task = api("POST", f"{SECURITY}/status/reboot")
    wait_for(lambda: not health(hub), 30, "it goes away")
    wait_for(lambda: health(hub).get("sealed") is False, UNSEALED, "it serves")
    took, away = time.monotonic() - started, logins(hub)
    assert api.wait(task) == "OK"
    print(f"unsealed and serving {took:.1f} s after the order to reboot")
    assert took < UNSEALED
    assert hub.on("security", "cut -d' ' -f22 /proc/1/stat") != born
    wait_for(lambda: all(c.works > away[who].works for who, c in logins(hub).items()), 60, "its clients get in again")
    assert refusals(before, logins(hub)) == {}
    hub.settles()


@pytest.fixture
def sealed(hub: Cli) -> Iterator[None]:
    """The vault started again while the node's own unsealing was switched off."""
    hub.on("node", "systemctl stop hub-unseal-small.service")
    hub.on("security", "systemctl restart hub-vault.service")
    wait_for(lambda: health(hub).get("sealed") is True, 60, "it is sealed")
    yield
    hub.on("node", "systemctl start hub-unseal-small.service")
    wait_for(lambda: health(hub).get("sealed") is False, 30, "the node opens it")
    hub.settles()


def test_a_sealed_vault_is_named_and_services_go_on(hub: Cli, sealed):
    before = logins(hub)
    code, plan = hub.plan()
    assert code == 3
    (change,) = [c for c in plan["changes"] if c["owner"] == "vault"]
    assert "sealed" in change["summary"]
    for words in (("secrets", "status"), ("secrets", "rotate", "--all", "--yes")):
        done = hub(*words)
        assert done.returncode == 4, done.stdout + done.stderr
        assert "sealed" in done.stdout + done.stderr
        assert "aihub secrets unseal" in done.stdout + done.stderr
    wait_for(lambda: all(c.works > before[who].works for who, c in logins(hub).items()), 30, "logins go on")
    assert refusals(before, logins(hub)) == {}
    assert health(hub)["sealed"], "it was opened by somebody else"

    kit = newest_kit(hub)
    hub.ok("secrets", "unseal", "--kit", str(kit), "--identity", str(kit.parent / "lab-identity"))
    assert health(hub)["sealed"] is False


def test_a_lost_controller_comes_back_from_the_kit_and_its_key_alone(hub: Cli, tmp_path: Path):
    """Another machine with hub.yml, the kit and the key that opens it: nothing is made anew, the same secrets serve."""
    kit = newest_kit(hub)
    other, before, old = replace(hub, state=tmp_path / "state"), logins(hub), values_of(hub)
    other.ok("secrets", "kit", "--restore", str(kit), "--identity", str(kit.parent / "lab-identity"))
    other.ok("up", "--no-verify")
    assert values_of(other) == old
    assert failures(before, logins(hub)) == {}
    other.settles()
    shutil.rmtree(other.state)
    hub.settles()


def test_every_secret_is_replaced_under_load_without_a_failed_login(hub: Cli):
    old, before = values_of(hub), logins(hub)
    started = time.monotonic()
    done = json.loads(hub.ok("secrets", "rotate", "--all", "--yes", "--json"))
    took = time.monotonic() - started
    after = logins(hub)
    many = sum(after[who].works - before[who].works for who in before)
    print(f"{len(done['rotated'])} secrets in {took:.1f} s, {many} logins meanwhile")
    assert failures(before, after) == {}
    assert all(after[who].works > before[who].works + 20 for who in before), "there was no load"
    assert [one for one in done["rotated"] if one["error"]] == []
    assert len(done["rotated"]) >= len(old) / 2
    assert [label for label, value in values_of(hub).items() if value in old.values()] == [], "these are the old ones"
    assert took < ROTATED
    hub.ok("verify")


def test_a_rotation_killed_at_any_moment_is_finished_by_the_next(hub: Cli):
    before = logins(hub)
    seed = int(os.environ.get("AIHUB_CRASH_SEED", "0")) or random.randrange(1 << 30)
    chance, longest, killed = random.Random(seed), 10.0, 0
    while killed < KILLS:
        child, moment, started = (
            hub.start("secrets", "rotate", "--all", "--yes"),
            chance.uniform(1, longest),
            time.time(),
        )
        with child:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(moment)
                longest = time.time() - started
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        if child.returncode == 0:
            continue  # it was faster than the kill
        killed += 1
        print(f"seed {seed}, kill {killed} after {moment:.1f} s")
        assert child.returncode == -signal.SIGKILL
        hub.ok("secrets", "rotate", "--due", "--yes")  # nothing is due: only what was begun
        told = json.loads(hub.ok("secrets", "status", "--json"))
        assert [row["name"] for row in told["secrets"] if row["in_flight"]] == []
    assert failures(before, logins(hub)) == {}
