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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aihub.checks import denials, leaks
from aihub.checks.context import Context
from aihub.vault.desired import desired, policy_of, text_of

from tests.lab.conftest import BIN, Api, Cli
from tests.lab.leaks_planted import VALUE, planted

pytestmark = pytest.mark.lab
CANARIES = ("monitoring", "private-ai", "public-ai")
SERVICES = ("canary", "valkey")
SECURITY = "/nodes/pve/lxc/112"
UNSEALED = 60.0  # seconds from the order to reboot
ROTATED = 300.0  # seconds for every secret of the hub
KILLS = 3


@dataclass(frozen=True)
class Count:
    """What the containers of the canary counted since they started."""

    works: int
    refused: int
    silent: int


def counts(hub: Cli) -> dict[str, Count]:
    """The counters of every container of every canary."""
    found = {}
    for guest in CANARIES:
        for service in SERVICES:
            text = hub.on(guest, f"docker exec canary-{service}-1 cat /run/canary/count")
            found[f"{service}@{guest}"] = Count(*map(int, text.split()[:3]))
    return found


def wait_for(what: Callable[[], bool], seconds: float, why: str) -> float:
    """How long it took."""
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < seconds, f"not within {seconds:.0f} s: {why}"
        time.sleep(0.5)
    return time.monotonic() - started


def health(hub: Cli) -> dict:
    """How the vault is, asked from the node without aihub; empty when it does not answer."""
    there = "--resolve security.hub.home.arpa:8200:10.10.10.13 https://security.hub.home.arpa:8200/v1/sys/health"
    text = hub.on("node", f"curl --silent --max-time 3 --cacert /etc/hub-node/aihub/ca.pem {there} || true")
    return json.loads(text) if text else {}


def values_of(hub: Cli) -> dict[str, str]:
    """Every secret as it is now; a context of its own, since ssh connections end with the controller's old key."""
    (state,) = hub.state.glob(f"*-lab-{hub.lab}")
    context = Context(hub.hub, "lab", str(state), hub.lab)
    try:
        return dict(leaks.known(context.hub, context.state, context.vault).values)
    finally:
        context.close()


def failures(before: dict[str, Count], after: dict[str, Count]) -> dict[str, Count]:
    """The counters that went up and should not have."""
    return {who: c for who, c in after.items() if (c.refused, c.silent) != (before[who].refused, before[who].silent)}


def ours_running(hub: Cli) -> list[str]:
    """Processes of aihub that work on this lab."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            mine = f"AIHUB_LAB={hub.lab}".encode() in (folder / "environ").read_bytes()
        except OSError:
            continue
        if mine and str(BIN / "aihub").encode() in command:
            found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.fixture(scope="module")
def busy(hub: Cli) -> Iterator[None]:
    """Every canary logs in again 50 ms after the last login, not after a second, until this file's tests end."""
    edit = 'sed -i \'s/CANARY_INTERVAL: "1"/CANARY_INTERVAL: "0.05"/\' /opt/hub/canary/compose.yml'
    for guest in CANARIES:
        hub.on(guest, f"{edit} && grep -q 0.05 /opt/hub/canary/compose.yml && systemctl restart hub-canary.service")
    wait_for(lambda: all(c.works > 20 for c in counts(hub).values()), 60, "the canaries get in")
    yield
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0


def test_every_planted_leak_is_found_and_nothing_else(hub, inside, resolved):
    """At least twenty, one for each medium and encoding; the hub's own secrets lie nowhere."""
    known = leaks.known(resolved, inside.state, inside.vault)
    assert len(known.values) >= 20
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


def test_a_policy_that_lets_a_public_guest_read_private_entries_is_seen_named_and_repaired(hub, inside, resolved):
    instance = next(i for i in resolved.on("public-ai") if policy_of(i) in desired(resolved).policies)
    grants = desired(resolved).policies[policy_of(instance)]
    other = next(ref.path for ref in resolved.secrets if ref.instance.endswith("@private-ai"))
    inside.vault.put_policy(policy_of(instance), text_of({**grants, f"kv/data/{other}": ("read",)}))
    found = denials.ask(inside.shells.shell("public-ai"), denials.question(resolved, "public-ai"))
    assert found.allowed == (f"read kv/data/{other} (200)",)
    code, plan = hub.plan()
    assert code == 3
    assert [(c["owner"], c["subject"]) for c in plan["changes"]] == [("vault", "vault@security")]
    assert policy_of(instance) in plan["changes"][0]["summary"]
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0
    found = denials.ask(inside.shells.shell("public-ai"), denials.question(resolved, "public-ai"))
    assert found.allowed == ()


def test_a_policy_removed_by_hand_is_drift_and_repaired(hub, inside, resolved):
    name = policy_of(resolved.instance("redis@cache"))
    inside.vault.delete_policy(name)
    code, plan = hub.plan()
    assert code == 3
    assert f"policy {name}: missing" in [c["summary"] for c in plan["changes"]], json.dumps(plan, indent=1)
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0


def test_a_revoked_guest_is_named_goes_on_and_gets_a_new_login(hub: Cli):
    before = counts(hub)
    hub.ok("secrets", "revoke", "monitoring", "--yes")
    code, plan = hub.plan()
    assert (code, [c["subject"] for c in plan["changes"]]) == (3, ["monitoring"]), json.dumps(plan, indent=1)
    hub.ok("up", "--no-verify")
    hub.settles()
    wait_for(lambda: all(c.works > before[who].works for who, c in counts(hub).items()), 30, "logins go on")
    assert failures(before, counts(hub)) == {}


def test_the_vault_s_guest_reboots_with_nobody_there_and_serves_again(hub: Cli, api: Api):
    before, born = counts(hub), hub.on("security", "cut -d' ' -f22 /proc/1/stat")
    assert ours_running(hub) == []
    started = time.monotonic()
    task = api("POST", f"{SECURITY}/status/reboot")
    wait_for(lambda: not health(hub), 30, "it goes away")
    wait_for(lambda: health(hub).get("sealed") is False, UNSEALED, "it serves")
    took = time.monotonic() - started
    assert api.wait(task) == "OK"
    print(f"unsealed and serving {took:.1f} s after the order to reboot")
    assert took < UNSEALED
    assert hub.on("security", "cut -d' ' -f22 /proc/1/stat") != born
    assert {
        who: c.refused - before[who].refused for who, c in counts(hub).items() if c.refused != before[who].refused
    } == {}
    hub.settles()


def test_a_database_reboots_with_nobody_there_and_its_consumers_get_in_again(hub: Cli, api: Api):
    before = counts(hub)
    assert ours_running(hub) == []
    task = api("POST", "/nodes/pve/lxc/110/status/reboot")
    clients = [f"canary@{guest}" for guest in CANARIES]
    wait_for(lambda: any(counts(hub)[c].silent > before[c].silent for c in clients), 60, "it goes away")
    away = counts(hub)
    assert api.wait(task) == "OK"
    wait_for(lambda: all(counts(hub)[c].works > away[c].works + 3 for c in clients), 120, "logins work again")
    assert {who: c.refused for who, c in counts(hub).items() if c.refused != before[who].refused} == {}
    hub.settles()


@pytest.fixture
def sealed(hub: Cli) -> Iterator[None]:
    """The vault started again while the node's own unsealing was switched off."""
    hub.on("node", "systemctl stop hub-unseal-aihub.service")
    hub.on("security", "systemctl restart hub-vault.service")
    wait_for(lambda: health(hub).get("sealed") is True, 60, "it is sealed")
    yield
    hub.on("node", "systemctl start hub-unseal-aihub.service")
    wait_for(lambda: health(hub).get("sealed") is False, 30, "the node opens it")
    hub.settles()


def test_a_sealed_vault_is_named_and_services_go_on(hub: Cli, sealed):
    before = counts(hub)
    code, plan = hub.plan()
    assert code == 3
    (change,) = [c for c in plan["changes"] if c["owner"] == "vault"]
    assert "sealed" in change["summary"]
    for words in (("secrets", "status"), ("secrets", "rotate", "--all", "--yes")):
        done = hub(*words)
        assert done.returncode == 4, done.stdout + done.stderr
        assert "sealed" in done.stdout + done.stderr
        assert "aihub secrets unseal" in done.stdout + done.stderr
    wait_for(lambda: all(c.works > before[who].works for who, c in counts(hub).items()), 30, "logins go on")
    assert {who: c for who, c in counts(hub).items() if c.refused != before[who].refused} == {}
    assert health(hub)["sealed"], "it was opened by somebody else"

    (kit,) = hub.state.glob(f"*-lab-{hub.lab}/kit/*.kit")
    hub.ok("secrets", "unseal", "--kit", str(kit), "--identity", str(kit.parent / "lab-identity"))
    assert health(hub)["sealed"] is False


def test_a_lost_controller_comes_back_from_the_kit_and_its_key_alone(hub: Cli, tmp_path: Path):
    """Another machine with hub.yml, the kit and the key that opens it: nothing is made anew, the same secrets serve."""
    (kit,) = hub.state.glob(f"*-lab-{hub.lab}/kit/*.kit")
    other, before, old = replace(hub, state=tmp_path / "state"), counts(hub), values_of(hub)
    other.ok("secrets", "kit", "--restore", str(kit), "--identity", str(kit.parent / "lab-identity"))
    other.ok("up", "--no-verify")
    assert values_of(other) == old
    assert failures(before, counts(hub)) == {}
    other.settles()
    shutil.rmtree(other.state)
    hub.settles()


def test_every_secret_is_replaced_under_load_without_a_failed_login(hub: Cli, busy):
    old, before = values_of(hub), counts(hub)
    started = time.monotonic()
    done = json.loads(hub.ok("secrets", "rotate", "--all", "--yes", "--json"))
    took = time.monotonic() - started
    after = counts(hub)
    logins = sum(after[who].works - before[who].works for who in before)
    print(f"{len(done['rotated'])} secrets in {took:.1f} s, {logins} logins meanwhile")
    assert failures(before, after) == {}
    assert all(after[who].works > before[who].works + 20 for who in before), "there was no load"
    assert [one for one in done["rotated"] if one["error"]] == []
    assert len(done["rotated"]) >= len(old) / 2
    assert [label for label, value in values_of(hub).items() if value in old.values()] == [], "these are the old ones"
    assert took < ROTATED
    hub.ok("verify")


def test_a_rotation_killed_at_any_moment_is_finished_by_the_next(hub: Cli, busy):
    before = counts(hub)
    seed = int(os.environ.get("AIHUB_SEED", "0")) or random.randrange(1 << 30)
    chance = random.Random(seed)
    for number in range(KILLS):
        child, moment = hub.start("secrets", "rotate", "--all", "--yes"), chance.uniform(1, 10)
        with child:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(moment)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        print(f"seed {seed}, kill {number + 1} after {moment:.1f} s")
        assert child.returncode == -signal.SIGKILL, "it ended before it was killed"
        hub.ok("secrets", "rotate", "--due", "--yes")  # nothing is due: only what was begun
        told = json.loads(hub.ok("secrets", "status", "--json"))
        assert [row["name"] for row in told["secrets"] if row["in_flight"]] == []
    assert failures(before, counts(hub)) == {}
