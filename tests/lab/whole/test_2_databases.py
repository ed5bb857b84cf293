"""What only the whole hub shows: the real databases with consumers in every zone, and guests of many kinds."""

from __future__ import annotations

import json

import pytest
from aihub.checks import denials

from tests.lab.cli import Api, Cli
from tests.lab.watch import Counts, counts, failures, ours_running, refusals, wait_for

pytestmark = pytest.mark.lab
CANARIES = dict.fromkeys(("monitoring", "private-ai", "public-ai"), ("canary-canary-1", "canary-valkey-1"))
DATABASES = ("postgres@db", "redis@cache", "canary@private-ai")


def logins(hub: Cli) -> Counts:
    return counts(hub, CANARIES)


def test_no_guest_gets_at_what_is_another_s(hub, inside, resolved):
    """Every entry of everybody else, by every guest, deletions included."""
    for guest in resolved.agents:
        found = denials.ask(inside.shells.shell(guest), denials.question(resolved, guest), harmful=True)
        assert set(found.own.values()) == {200}, guest
        assert found.allowed == (), guest
    assert hub.plan()[0] == 0


def test_the_databases_logins_and_certificates_are_replaced_without_a_failed_login(hub: Cli):
    """The small hub does so with every secret there is, under load; here it is the real databases' turn."""
    before = logins(hub)
    done = json.loads(hub.ok("secrets", "rotate", *DATABASES, "--yes", "--json"))
    assert [one for one in done["rotated"] if one["error"]] == []
    replaced = {one["name"] for one in done["rotated"]}
    assert {f"{name}/{what}" for name in DATABASES[:2] for what in ("reconcile", "tls")} <= replaced
    assert {"canary@private-ai/postgres_main", "canary@private-ai/redis_main"} <= replaced
    wait_for(lambda: all(c.works > before[who].works + 2 for who, c in logins(hub).items()), 30, "logins go on")
    assert failures(before, logins(hub)) == {}
    hub.ok("verify", *DATABASES)


def test_a_database_reboots_with_nobody_there_and_its_consumers_get_in_again(hub: Cli, api: Api):
    """Its secrets come from the vault by its own agent."""
    before, born = logins(hub), hub.on("db", "cut -d' ' -f22 /proc/1/stat")
    assert ours_running(hub) == []
    task = api("POST", "/nodes/pve/lxc/110/status/reboot")
    clients = [f"canary-canary-1@{guest}" for guest in CANARIES if guest != "private-ai"]  # which has one of its own
    wait_for(lambda: any(logins(hub)[c].silent > before[c].silent for c in clients), 60, "it goes away")
    away = logins(hub)
    assert api.wait(task) == "OK"
    wait_for(lambda: all(logins(hub)[c].works > away[c].works + 3 for c in clients), 120, "logins work again")
    assert refusals(before, logins(hub)) == {}
    assert hub.on("db", "cut -d' ' -f22 /proc/1/stat") != born
    assert hub.on("db", "stat -f -c %T /run/hub/postgres") == "tmpfs"
    hub.settles()
