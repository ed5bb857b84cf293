"""The QEMU guest agent: commands in a running machine."""

from __future__ import annotations

import itertools
import threading
from functools import partial
from typing import Any

from ...backend import BackendError, ExecResult
from .. import machine_state
from ..errors import ApiError, failure, refuse_if
from ..guestconf import GuestConf
from ..qemu_config import agent_enabled
from ..registry import Call, route

BASE = "/nodes/{node}/qemu/{vmid}/agent"
ALWAYS: dict[str, Any] = {
    "ping": {}, "fstrim": {}, "fsfreeze-status": "thawed", "info": {"version": "10.0.2", "supported_commands": []},
}  # fmt: skip
LIMIT = 600.0
PIDS = itertools.count(1000)
RUNS: dict[tuple[int, int], ExecResult | None] = {}  # by VMID and process: a machine sees its own alone


def _machine(call: Call) -> GuestConf:
    """The machine, if an agent answers in it."""
    conf = call.pve.conf(call.vmid, "qemu")
    if conf.values.get("agent") is None:
        raise failure("No QEMU guest agent configured")
    refuse_if(not call.pve.running(call.vmid), f"VM {call.vmid} is not running")
    asleep = not agent_enabled(conf) or call.vmid in machine_state.paused(call.pve)
    refuse_if(asleep, "QEMU guest agent is not running")
    return conf


@route("POST", BASE)
def legacy(call: Call) -> dict[str, Any]:
    """Runs an agent command that is named in the call."""
    return _command(call, str(call["command"]))


def _command(call: Call, name: str) -> dict[str, Any]:
    conf = _machine(call)
    if name in ALWAYS:
        return {"result": ALWAYS[name]}
    if name == "network-get-interfaces":
        return {"result": call.pve.backend.addresses(call.pve.spec(conf))}
    raise ApiError(500, f"pvelab: the agent command '{name}' is not supported\n")


@route("POST", BASE + "/exec")
def execute(call: Call) -> dict[str, int]:
    """Starts a command in the machine."""
    conf, argv = _machine(call), [str(part) for part in call["command"]]
    run = (call.vmid, next(PIDS))
    RUNS[run] = None

    def work() -> None:
        stdin = str(call.get("input-data", "")).encode()
        try:
            RUNS[run] = call.pve.backend.execute(call.pve.spec(conf), argv, stdin, LIMIT)
        except BackendError as error:
            RUNS[run] = ExecResult(127, b"", str(error).encode())

    threading.Thread(target=work, daemon=True).start()
    return {"pid": run[1]}


@route("GET", BASE + "/exec-status")
def exec_status(call: Call) -> dict[str, Any]:
    """What became of a command."""
    _machine(call)
    run = (call.vmid, call.number("pid"))
    refuse_if(run not in RUNS, f"Agent error: PID {run[1]} does not exist")
    result = RUNS[run]
    if result is None:
        return {"exited": 0}
    del RUNS[run]
    found: dict[str, Any] = {"exited": 1, "exitcode": result.exit_code}
    for key, data in (("out-data", result.stdout), ("err-data", result.stderr)):
        if data:
            found[key] = data.decode("utf-8", "replace")
    return found


for _name in ("ping", "fstrim", "fsfreeze-status"):
    route("POST", f"{BASE}/{_name}", slow=True)(partial(_command, name=_name))
for _name in ("info", "network-get-interfaces"):
    route("GET", f"{BASE}/{_name}", slow=True)(partial(_command, name=_name))
