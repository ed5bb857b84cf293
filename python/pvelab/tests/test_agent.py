"""Commands of the guest agent: what one machine ran is no other's to read."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from pvelab.api.errors import ApiError
from pvelab.api.guestconf import GuestConf
from pvelab.api.registry import Call
from pvelab.api.routes import agent
from pvelab.backend import ExecResult


def call(vmid: int, **params: Any) -> Call:
    """A call to a machine in which an agent answers with its VMID."""
    backend = SimpleNamespace(name="guests", execute=lambda spec, argv, stdin, limit: ExecResult(0, b"%d" % spec, b""))
    pve: Any = SimpleNamespace(
        backend=backend,
        conf=lambda vmid, kind: GuestConf(vmid, kind, {"agent": "1"}),
        running=lambda vmid: True,
        spec=lambda conf: conf.vmid,
    )
    return Call(pve, "root@pam", {"vmid": str(vmid), **params})


def status(vmid: int, pid: int) -> dict[str, Any]:
    """What became of a command, once it is over."""
    limit = time.monotonic() + 5
    while not (found := dict(agent.exec_status(call(vmid, pid=str(pid)))))["exited"]:
        assert time.monotonic() < limit
    return found


def test_a_machine_reads_its_own_commands_alone() -> None:
    pid = agent.execute(call(200, command=["id"]))["pid"]
    with pytest.raises(ApiError, match=f"PID {pid} does not exist"):
        agent.exec_status(call(201, pid=str(pid)))
    assert status(200, pid) == {"exited": 1, "exitcode": 0, "out-data": "200"}
    with pytest.raises(ApiError, match=f"PID {pid} does not exist"):
        agent.exec_status(call(200, pid=str(pid)))
