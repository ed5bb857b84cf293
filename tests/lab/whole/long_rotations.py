"""Secrets of the whole hub under load, every one: `make test-long PART=hub`. The small hub has its share every day."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from aihub.checks import leaks

from tests.lab.cli import Api, Cli
from tests.lab.watch import failures, ours_running, wait_for
from tests.lab.whole.test_2_databases import CANARIES, logins

pytestmark = pytest.mark.lab
SECURITY = "/nodes/pve/lxc/112"
UNSEALED = 60.0  # seconds from the order to reboot
ROTATED = 300.0  # seconds for every secret of the hub
KILLS = int(os.environ.get("AIHUB_ROTATION_KILLS", "10"))


def health(hub: Cli) -> dict:
    """How the vault is, asked from the node without aihub; empty when it does not answer."""
    there = "--resolve security.hub.home.arpa:8200:10.10.10.13 https://security.hub.home.arpa:8200/v1/sys/health"
    text = hub.on("node", f"curl --silent --max-time 3 --cacert /etc/hub-node/aihub/ca.pem {there} || true")
    return json.loads(text) if text else {}


def values_of(hub: Cli) -> dict[str, str]:
    """Every secret as it is now; a context of its own, since ssh connections end with the controller's old key."""
    with hub.opened() as context:
        return dict(leaks.known(context.hub, context.state, context.vault).values)


@pytest.fixture(scope="module")
def busy(hub: Cli) -> Iterator[None]:
    """Every canary logs in again 50 ms after the last login, not after a second, until this file's tests end."""
    edit = 'sed -i \'s/CANARY_INTERVAL: "1"/CANARY_INTERVAL: "0.05"/\' /opt/hub/canary/compose.yml'
    for guest in CANARIES:
        hub.on(guest, f"{edit} && grep -q 0.05 /opt/hub/canary/compose.yml && systemctl restart hub-canary.service")
    wait_for(lambda: all(c.works > 20 for c in logins(hub).values()), 60, "the canaries get in")
    yield
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0


def test_the_vault_s_guest_reboots_with_nobody_there_and_serves_again(hub: Cli, api: Api):
    before, born = logins(hub), hub.on("security", "cut -d' ' -f22 /proc/1/stat")
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
        who: c.refused - before[who].refused for who, c in logins(hub).items() if c.refused != before[who].refused
    } == {}
    hub.settles()


def test_every_secret_is_replaced_under_load_without_a_failed_login(hub: Cli, busy):
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


def test_a_rotation_killed_at_any_moment_is_finished_by_the_next(hub: Cli, busy):
    before = logins(hub)
    seed = int(os.environ.get("AIHUB_CRASH_SEED", "0")) or random.randrange(1 << 30)
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
    assert failures(before, logins(hub)) == {}
