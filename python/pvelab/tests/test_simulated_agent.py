"""Without real guests the agent of a running machine answers all the same, and says of each program that none ran."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pve_server import Answer, Server

QEMU = "/nodes/pve/qemu"
NOTICE = "simulated by pvelab: no program ran\n"


@pytest.fixture(scope="module")
def machine(pve: Server) -> int:
    """A running machine with an agent."""
    return running(
        pve, name="web.example.org", ipconfig0="ip=10.0.0.7/24,gw=10.0.0.1,ip6=fd00::7/64", ipconfig1="ip=dhcp"
    )


def running(pve: Server, **options: Any) -> int:
    vmid = pve.machine(agent="1", net1="e1000,bridge=vmbr0", **options)
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/start", {})) == "OK"
    return vmid


def begin(pve: Server, vmid: int, *command: str, **more: str) -> Answer:
    return pve.call("POST", f"{QEMU}/{vmid}/agent/exec", {"command": list(command), **more})


def status(pve: Server, vmid: int, pid: int) -> Answer:
    return pve.call("GET", f"{QEMU}/{vmid}/agent/exec-status", {"pid": pid})


def ran(pve: Server, vmid: int, *command: str, **more: str) -> dict[str, Any]:
    """What became of a program, once it is over."""
    pid = begin(pve, vmid, *command, **more).data["pid"]
    limit = time.monotonic() + 5
    while not (found := dict(status(pve, vmid, pid).data))["exited"]:
        assert time.monotonic() < limit
    return found


def test_it_answers_a_ping(pve: Server, machine: int) -> None:
    for path, params in (("/ping", {}), ("", {"command": "ping"})):
        assert pve.call("POST", f"{QEMU}/{machine}/agent{path}", params).json == {"data": {"result": {}}}
    assert pve.get(f"{QEMU}/{machine}/status/current")["agent"] == 1


def test_its_interfaces_are_those_of_the_configuration(pve: Server, machine: int) -> None:
    lo, eth0, eth1 = pve.get(f"{QEMU}/{machine}/agent/network-get-interfaces")["result"]
    config = pve.get(f"{QEMU}/{machine}/config")
    assert [card["name"] for card in (lo, eth0, eth1)] == ["lo", "eth0", "eth1"]
    assert eth0["hardware-address"].upper() in config["net0"]
    assert eth1["hardware-address"].upper() in config["net1"]
    assert eth0["ip-addresses"] == [
        {"ip-address": "10.0.0.7", "ip-address-type": "ipv4", "prefix": 24},
        {"ip-address": "fd00::7", "ip-address-type": "ipv6", "prefix": 64},
    ]
    assert eth1["ip-addresses"] == []
    assert set(eth0["statistics"].values()) == {0}


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["echo", "a b", "c"], 0, "a b c\n"),
        (["/usr/bin/hostname"], 0, "web\n"),
        (["whoami"], 0, "root\n"),
        (["true"], 0, None),
        (["false"], 1, None),
        (["cat", "/etc/hostname"], 0, "web\n"),
    ],
)
def test_a_harmless_program_has_an_answer(
    pve: Server, machine: int, command: list[str], code: int, said: str | None
) -> None:
    found = ran(pve, machine, *command)
    assert (found["exited"], found["exitcode"], found.get("out-data")) == (1, code, said)
    assert found["err-data"] == NOTICE


def test_a_program_reads_what_it_is_given(pve: Server, machine: int) -> None:
    assert ran(pve, machine, "cat", **{"input-data": "two\nlines"})["out-data"] == "two\nlines"
    missing = ran(pve, machine, "cat", "/nowhere")
    assert (missing["exitcode"], missing["err-data"]) == (1, f"{NOTICE}cat: /nowhere: No such file or directory\n")


def test_a_program_that_is_not_simulated_is_as_one_that_is_missing(pve: Server, machine: int) -> None:
    found = ran(pve, machine, "apt-get", "upgrade")
    assert (found["exitcode"], "out-data" in found) == (127, False)
    assert found["err-data"] == f"{NOTICE}there are cat, echo, false, hostname, true, whoami\n"


def test_what_ran_in_one_machine_is_not_told_by_another(pve: Server, machine: int) -> None:
    other = running(pve)
    pid = begin(pve, machine, "hostname").data["pid"]
    assert status(pve, other, pid).message == f"Agent error: PID {pid} does not exist"
    assert status(pve, machine, pid).status == 200


@pytest.mark.parametrize(("method", "command"), [("POST", "shutdown"), ("POST", "file-write"), ("GET", "get-osinfo")])
def test_nothing_is_said_to_be_done_that_was_not(pve: Server, machine: int, method: str, command: str) -> None:
    params = {"file": "/x", "content": "y"} if command == "file-write" else {}
    path = f"{QEMU}/{machine}/agent/{command}"
    assert pve.call(method, path, params).message == f"Method '{method} {path}' not implemented"
    assert pve.get(f"{QEMU}/{machine}/status/current")["status"] == "running"


def test_it_is_silent_while_the_machine_is_paused_or_down(pve: Server) -> None:
    vmid = running(pve)
    said = [pve.call("POST", f"{QEMU}/{vmid}/agent/ping", {}).message]
    for verb in ("suspend", "resume", "stop"):
        assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/{verb}", {})) == "OK"
        said.append(pve.call("POST", f"{QEMU}/{vmid}/agent/ping", {}).message)
    assert said == ["", "QEMU guest agent is not running", "", f"VM {vmid} is not running"]
