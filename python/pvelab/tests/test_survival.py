"""State survives a kill; faults strike when asked; the record of requests proves that nothing was written."""

from __future__ import annotations

import http.client
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from pve_server import TEMPLATE, Server, start, stop


@pytest.mark.slow
def test_state_survives_a_kill(tmp_path: Path) -> None:
    server = start(tmp_path / "state")
    vmid = server.container(memory=333)
    assert server.done(server.call("POST", f"/nodes/pve/lxc/{vmid}/status/start", {})) == "OK"
    fault = {"kind": "task-hang", "path": f"/lxc/{vmid}/status/stop", "seconds": "60"}
    assert server.call("POST", "/pvelab/faults", fault).status == 200
    hanging = server.call("POST", f"/nodes/pve/lxc/{vmid}/status/stop", {}).data
    assert server.get(f"/nodes/pve/tasks/{hanging}/status")["status"] == "running"
    before = server.get(f"/nodes/pve/lxc/{vmid}/config")
    stop(server, signal.SIGKILL)
    again = start(tmp_path / "state")
    try:
        assert again.get(f"/nodes/pve/lxc/{vmid}/config") == before
        assert again.get(f"/nodes/pve/lxc/{vmid}/status/current")["status"] == "running"
        ended = again.get(f"/nodes/pve/tasks/{hanging}/status")
        assert (ended["status"], ended["exitstatus"]) == ("stopped", "unexpected status")
    finally:
        stop(again)


def test_faults_strike_as_often_as_asked(pve: Server) -> None:
    pve.call("POST", "/pvelab/faults", {"kind": "status", "path": "^/version$", "status": "599", "message": "Too busy"})
    first = pve.call("GET", "/version")
    assert (first.status, first.reason) == (599, "Too busy")
    assert pve.call("GET", "/version").status == 200


def test_a_dropped_answer_after_the_commit(pve: Server) -> None:
    pve.call("POST", "/pvelab/faults", {"kind": "drop-after", "method": "POST", "path": "^/pools$"})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        pve.call("POST", "/pools", {"poolid": "dropped"})
    assert "dropped" in [pool["poolid"] for pool in pve.get("/pools")]


def test_a_task_can_be_made_to_fail(pve: Server) -> None:
    vmid = next(pve.vmids)
    pve.call("POST", "/pvelab/faults", {"kind": "storage-full", "method": "POST", "path": "/lxc$"})
    ended = pve.done(pve.call("POST", "/nodes/pve/lxc", {"vmid": vmid, "ostemplate": TEMPLATE, "rootfs": "local:1"}))
    assert "No space left on device" in ended
    assert pve.call("GET", f"/nodes/pve/lxc/{vmid}/config").status == 500


def test_reads_are_not_counted_as_writes(pve: Server) -> None:
    pve.call("DELETE", "/pvelab/requests")
    pve.get("/cluster/resources")
    assert pve.get("/pvelab/requests")["writes"] == 0
    pve.call("POST", "/pools", {"poolid": f"p{time.time_ns()}"})
    assert pve.get("/pvelab/requests")["writes"] == 1


def test_the_labs_own_endpoints_are_for_root_by_ticket(pve: Server) -> None:
    made = pve.call("POST", "/access/users/root@pam/token/lab", {"privsep": 0}).data
    answer = pve.as_token(f"{made['full-tokenid']}={made['value']}").call("GET", "/pvelab/faults")
    assert answer.status == 403


def test_a_fault_may_strike_tokens_only(pve: Server) -> None:
    made = pve.call("POST", "/access/users/root@pam/token/faulty", {"privsep": 0}).data
    token = pve.as_token(f"{made['full-tokenid']}={made['value']}")
    rule = {"kind": "status", "path": "^/version$", "status": "596", "only": "token"}
    assert pve.call("POST", "/pvelab/faults", rule).status == 200
    assert pve.call("GET", "/version").status == 200
    assert token.call("GET", "/version").status == 596
    assert token.call("GET", "/version").status == 200


def test_a_task_can_be_made_to_warn(pve: Server) -> None:
    vmid = pve.container()
    pve.call("POST", "/pvelab/faults", {"kind": "task-warn", "path": "/status/start$", "message": "take care"})
    answer = pve.call("POST", f"/nodes/pve/lxc/{vmid}/status/start", {})
    assert pve.done(answer) == "WARNINGS: 1"
    assert "WARN: take care" in pve.log(answer.data)
    assert pve.get(f"/nodes/pve/lxc/{vmid}/status/current")["status"] == "running"


def test_a_task_can_be_made_to_vanish(pve: Server) -> None:
    vmid = pve.container()
    pve.call("POST", "/pvelab/faults", {"kind": "task-vanish", "path": "/status/start$"})
    upid = pve.call("POST", f"/nodes/pve/lxc/{vmid}/status/start", {}).data
    assert pve.call("GET", f"/nodes/pve/tasks/{upid}/status").status == 400


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("truncated", lambda text: text.startswith('{"data"') and not text.endswith("}")),
        ("html", lambda text: text.startswith("<!DOCTYPE html>")),
        ("empty", lambda text: text == ""),
        ("null", lambda text: text == '{"data":null}'),
        ("shape", lambda text: "surprise" in text),
    ],
)
def test_an_answer_can_be_spoiled(pve: Server, body: str, found: Callable[[str], bool]) -> None:
    pve.call("POST", "/pvelab/faults", {"kind": "answer", "path": "^/access/roles$", "body": body})
    answer = pve.call("GET", "/access/roles")
    assert answer.status == 200
    assert found(answer.text)
    assert pve.get("/access/roles")


def test_an_answer_can_be_cut_or_garbage(pve: Server) -> None:
    pve.call("POST", "/pvelab/faults", {"kind": "answer", "path": "^/version$", "body": "cut"})
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        pve.call("GET", "/version")
    pve.call("POST", "/pvelab/faults", {"kind": "answer", "path": "^/version$", "body": "garbage"})
    with pytest.raises(UnicodeDecodeError):
        pve.call("GET", "/version")
    assert pve.call("POST", "/pvelab/faults", {"kind": "answer", "body": "spaghetti"}).status == 400


def test_the_clock_can_be_wrong(pve: Server) -> None:
    for seconds in (3600, -3600):
        pve.call("POST", "/pvelab/faults", {"kind": "clock", "path": "^/version$", "seconds": str(seconds)})
        date = parsedate_to_datetime(pve.call("GET", "/version").headers["date"])
        assert abs((date - datetime.now(UTC)).total_seconds() - seconds) < 5
    date = parsedate_to_datetime(pve.call("GET", "/version").headers["date"])
    assert abs((date - datetime.now(UTC)).total_seconds()) < 5
