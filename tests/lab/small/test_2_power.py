"""A person looks at logs, and stops, starts and restarts what they name: a guest, or one instance."""

from __future__ import annotations

import json

import pytest

from tests.lab.cli import Api, Cli

pytestmark = pytest.mark.lab


def container(hub: Cli) -> tuple[str, str]:
    """Whether the container of the notes runs, and since when."""
    state = json.loads(hub.on("app", "docker inspect --format '{{json .State}}' notes-notes-1"))
    return state["Status"], state["StartedAt"]


def test_an_instance_stands_still_until_it_is_started(hub: Cli):
    hub.ok("stop", "notes@app")
    assert container(hub)[0] == "exited"
    code, plan = hub.plan()
    assert code == 3
    assert [change["subject"] for change in plan["changes"]] == ["app"]
    hub.ok("start", "notes@app")
    status, since = container(hub)
    assert status == "running"
    hub.ok("restart", "notes@app")
    status, later = container(hub)
    assert status == "running"
    assert later > since
    hub.settles()


def test_who_uses_what_is_stopped_is_named(hub: Cli):
    done = hub("restart", "redis@security")
    assert done.returncode == 0, done.stderr
    assert "redis@security is used by client@app" in " ".join((done.stdout + done.stderr).split())
    hub.settles()


def test_a_guest_is_shut_down_and_started(hub: Cli, api: Api):
    try:
        hub.ok("stop", "app")
        assert {g["vmid"]: g["status"] for g in api("GET", "/cluster/resources", type="vm")}[311] == "stopped"
        assert hub.plan()[0] == 3
    finally:
        hub.ok("start", "app")
    hub.settles()


def test_logs_tell_what_a_guest_and_an_instance_said_and_no_secret(hub: Cli):
    secret = hub.on("app", "cat /run/hub/notes/api_key")
    hub.on("app", f"logger --tag planted 'the key is {secret}, and an escape \x1b[2J'")
    told = hub.ok("logs", "app", "--lines", "20")
    (line,) = [line for line in told.splitlines() if "planted" in line]
    assert line.endswith("the key is (api_key), and an escape  [2J")
    told = hub.ok("logs", "notes@app")
    assert "notes-1" in told
    assert secret not in told


def test_a_name_that_nobody_declares_is_refused(hub: Cli):
    for verb in ("logs", "stop", "start", "restart"):
        done = hub(verb, "notes")
        assert done.returncode == 2
        assert "notes@app" in done.stderr
