"""The QEMU guest agent: commands in a running machine."""

from __future__ import annotations

import base64
import itertools
import threading
import time
from functools import partial
from typing import Any

from ...backend import BackendError, ExecResult
from .. import machine_state
from ..errors import ApiError, failure, refuse_if
from ..guestconf import GuestConf
from ..qemu_config import agent_enabled
from ..registry import Call, route
from ..surface import facts

BASE = "/nodes/{node}/qemu/{vmid}/agent"
OWN = ("exec", "exec-status", "file-read", "file-write", "set-user-password")  # commands that take parameters
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


def _run(call: Call, conf: GuestConf, argv: list[str], stdin: bytes = b"") -> ExecResult:
    try:
        return call.pve.backend.execute(call.pve.spec(conf), argv, stdin, LIMIT)
    except BackendError as error:
        raise failure(f"Agent error: {error}") from None


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
    if name == "get-host-name":
        return {"result": {"host-name": _run(call, conf, ["hostname"]).stdout.decode().strip()}}
    if name == "get-osinfo":
        return {"result": _os_info(_run(call, conf, ["cat", "/etc/os-release"]).stdout.decode())}
    if name == "get-time":
        return {"result": time.time_ns()}  # a guest's clock is the machine's
    if name == "shutdown":
        done = _run(call, conf, ["systemctl", "--no-block", "poweroff"])
        refuse_if(done.exit_code, f"Agent error: {done.stderr.decode('utf-8', 'replace').strip()}")
        return {"result": None}
    raise ApiError(500, f"pvelab: the agent command '{name}' is not supported\n")


def _os_info(text: str) -> dict[str, str]:
    fields = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    plain = {k: v.strip('"') for k, v in fields.items()}
    names = {"id": "ID", "name": "NAME", "pretty-name": "PRETTY_NAME", "version": "VERSION", "version-id": "VERSION_ID"}
    return {key: plain[source] for key, source in names.items() if source in plain}


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


@route("GET", BASE + "/file-read", slow=True)
def file_read(call: Call) -> dict[str, Any]:
    """Reads a file of the machine."""
    conf = _machine(call)
    result = _run(call, conf, ["cat", str(call["file"])])
    if result.exit_code:
        raise failure(f"can't open {call['file']}: {result.stderr.decode('utf-8', 'replace').strip()}")
    return {"content": result.stdout.decode("utf-8", "replace"), "bytes-read": len(result.stdout)}


@route("POST", BASE + "/file-write")
def file_write(call: Call) -> None:
    """Writes a file of the machine."""
    conf, text = _machine(call), str(call["content"])
    data = text.encode() if call.flag("encode", default=True) else base64.b64decode(text)
    result = _run(call, conf, ["tee", str(call["file"])], data)
    if result.exit_code:
        raise failure(f"can't open {call['file']}: {result.stderr.decode('utf-8', 'replace').strip()}")


@route("POST", BASE + "/set-user-password")
def set_password(call: Call) -> dict[str, Any]:
    """Sets a user's password in the machine."""
    conf, user = _machine(call), str(call["username"])
    argv = ["chpasswd", *(["-e"] if call.flag("crypted") else [])]
    result = _run(call, conf, argv, f"{user}:{call['password']}\n".encode())
    refuse_if(result.exit_code, "Agent error: cannot set user password")
    return {"result": {}}


def _register() -> None:
    """Every command of the schema that has no function of its own."""
    for endpoint in facts()["methods"]:
        method, _, path = endpoint.partition(" ")
        name = path.removeprefix(f"{BASE}/")
        if name not in (path, *OWN):
            route(method, path, slow=True)(partial(_command, name=name))


_register()
