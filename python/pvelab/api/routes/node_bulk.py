"""All guests of the node at once: start, stop, suspend, migrate; and several calls in one."""

from __future__ import annotations

from typing import Any

from .. import permissions
from ..body import parse_json
from ..errors import VERIFICATION, ApiError, TaskError, bad, bad_field, denied, failure
from ..guestconf import GuestConf
from ..registry import Call, find, route
from ..schema import validate
from ..surface import entry
from ..tasks import Log
from ..words import split_list
from . import lxc_status, qemu_status, qemu_suspend

ONE = "/nodes/{node}"
NODES_PM = "/usr/share/perl5/PVE/API2/Nodes.pm"
METHODS = ("GET", "POST", "PUT", "DELETE")
MISSING = "property is missing and it is not optional"
LAST = 1 << 62  # the startup order of a guest that has none
WORD = {"lxc": "CT", "qemu": "VM"}


def _check(call: Call, what: str, *privs: str) -> None:
    """The privileges on everything, or on each guest that the call names."""
    if call.allowed("/", *privs):
        return
    named = split_list(str(call.get("vms", "")))
    if not named:
        raise denied(what)
    for vmid in named:
        call.check(f"/vms/{vmid}", privs[0])


def _chosen(call: Call, *, autostart: bool = False) -> list[tuple[int, dict[str, str], GuestConf]]:
    """The guests that are meant, with their startup options, by order and VMID."""
    named = set(split_list(str(call["vms"]))) if call.has("vms") else None
    managed = call.pve.table("ha_resources")
    found = []
    for conf in call.pve.guests.all():
        sid = f"{'ct' if conf.kind == 'lxc' else 'vm'}:{conf.vmid}"
        if (named is not None and str(conf.vmid) not in named) or (named is None and sid in managed):
            continue
        if conf.values.get("template") == "1" or (autostart and conf.values.get("onboot") != "1"):
            continue
        options = dict(part.partition("=")[::2] for part in conf.values.get("startup", "").split(",") if "=" in part)
        order = options.get("order", conf.values.get("startup", ""))
        found.append((int(order) if order.isdigit() else LAST, options, conf))
    return sorted(found, key=lambda item: (item[0], item[2].vmid))


def _below(call: Call, conf: GuestConf, **params: str) -> Call:
    return Call(call.pve, call.user, {"node": call.pve.node.name, "vmid": str(conf.vmid), **params}, faults=call.faults)


@route("POST", ONE + "/startall")
def startall(call: Call) -> str:
    """Starts all guests that start with the node, or those that the call names."""
    _check(call, "/, VM.PowerMgmt", "VM.PowerMgmt")

    def work(log: Log) -> None:
        for _, _, conf in _chosen(call, autostart=not call.flag("force")):
            if call.pve.running(conf.vmid):
                continue
            log(f"Starting {WORD[conf.kind]} {conf.vmid}")
            try:
                module: Any = lxc_status if conf.kind == "lxc" else qemu_status
                task = call.pve.tasks.all[module.start(_below(call, conf))]
            except ApiError as error:
                log(error.text)
                continue
            task.done.wait(600)
            if task.status != "OK" and not str(task.status).startswith("WARNINGS"):
                log(f"Starting {WORD[conf.kind]} {conf.vmid} failed: {task.status}")

    return call.start("startall", "", work)


@route("POST", ONE + "/stopall")
def stopall(call: Call) -> str:
    """Shuts down all guests, or those that the call names, the last in order first."""
    _check(call, "/, VM.PowerMgmt", "VM.PowerMgmt")

    def work(log: Log) -> None:
        for _, options, conf in reversed(_chosen(call)):
            if not call.pve.running(conf.vmid):
                continue
            timeout = options.get("down") or str(call.number("timeout", 180))
            log(f"Stopping {WORD[conf.kind]} {conf.vmid} (timeout = {timeout} seconds)")
            force = "1" if call.flag("force-stop", default=True) else "0"
            try:
                module: Any = lxc_status if conf.kind == "lxc" else qemu_status
                upid = module.shutdown(_below(call, conf, timeout=timeout, forceStop=force))
                call.pve.tasks.all[upid].done.wait(600)
            except ApiError as error:
                log(error.text)

    return call.start("stopall", "", work)


@route("POST", ONE + "/suspendall")
def suspendall(call: Call) -> str:
    """Suspends all virtual machines to disk, or those that the call names; containers can't be suspended."""
    _check(call, "/, VM.PowerMgmt && VM.Config.Disk", "VM.PowerMgmt", "VM.Config.Disk")

    def work(log: Log) -> None:
        for _, _, conf in reversed(_chosen(call)):
            if conf.kind != "qemu":
                log.warn(f"skipping {conf.vmid}, only VMs can be suspended")
            elif not call.pve.running(conf.vmid):
                log(f"VM {conf.vmid} not running, skipping suspension")
            else:
                log(f"Suspending VM {conf.vmid}")
                try:
                    upid = qemu_suspend.suspend(_below(call, conf, todisk="1"))
                    call.pve.tasks.all[upid].done.wait(600)
                except ApiError as error:
                    log(error.text)

    return call.start("suspendall", "", work)


@route("POST", ONE + "/migrateall")
def migrateall(call: Call) -> str:
    """Refused: a single node has no other to migrate to."""
    _check(call, "/, VM.Migrate", "VM.Migrate")
    target = str(call["target"])
    if target == call.pve.node.name:
        raise bad(target="target is local node.")
    raise failure(f"no such cluster node '{target}'")


@route("POST", ONE + "/execute")
def execute(call: Call) -> list[dict[str, Any]]:
    """Runs several calls below the node, one after the other."""
    return [_one(call, command) for command in _commands(str(call["commands"]))]


def _commands(text: str) -> list[dict[str, Any]]:
    try:
        found = parse_json(text.encode())
    except ValueError as error:
        raise _bad_commands(f"commands param did not contain valid JSON: {error} at {NODES_PM} line 99.\n") from error
    wrong = _wrong(found)
    if wrong:
        lines = "".join(f"{name}: {wrong[name]}\n" for name in sorted(wrong))
        raise _bad_commands(f"commands is not a valid array of commands: 400 {VERIFICATION}{lines}")
    return list(found)


def _bad_commands(text: str) -> ApiError:
    return bad_field("commands", f"invalid format - {text}")


def _wrong(found: Any) -> dict[str, str]:
    """What is wrong with a list of commands, by the place in it."""
    if found is None:
        return {"_root": MISSING}
    if not isinstance(found, list):
        return {"_root": "type check ('array') failed"}
    wrong: dict[str, str] = {}
    for position, command in enumerate(found):
        if not isinstance(command, dict):
            wrong[f"[{position}]"] = MISSING if command is None else "type check ('object') failed"
            continue
        for name in ("path", "method"):
            if complaint := _wrong_text(command.get(name), method=name == "method"):
                wrong[f"[{position}].{name}"] = complaint
        if not isinstance(command.get("args"), dict | None):
            wrong[f"[{position}].args"] = "type check ('object') failed"
    return wrong


def _wrong_text(value: Any, *, method: bool) -> str | None:
    if value is None:
        return MISSING
    if isinstance(value, list | dict | bool):
        kind = "JSON::PP::Boolean" if isinstance(value, bool) else "ARRAY" if isinstance(value, list) else "HASH"
        return f"type check ('string') failed - got {kind}"
    return "value does not match the regex pattern" if method and value not in METHODS else None


def _one(call: Call, command: dict[str, Any]) -> dict[str, Any]:
    path = f"nodes/{call['node']}/{command['path']}"
    try:
        matched = find(command["method"], f"/{path}")
        if matched is None:
            raise failure(f"no handler for '{path}'")
        chosen, values = matched
        sent = {k: v if isinstance(v, list | bool) else str(v) for k, v in (command.get("args") or {}).items()}
        for name in sorted(values.keys() & sent.keys()):
            raise bad_field(name, "duplicate parameter")
        below = Call(call.pve, call.user, {**values, **sent}, chosen.method, f"/{path}", faults=call.faults)
        known = entry(chosen.method, chosen.template)
        if known:
            permissions.check_endpoint(below, known.get("perm"))
            validate(below.params, chosen.schema, bool(known.get("open")))
        return {"status": 200, "data": chosen.handler(below)}
    except ApiError as error:
        found: dict[str, Any] = {"status": error.status, "message": error.message}
        return {**found, "errors": error.errors} if error.errors else found
    except TaskError as error:
        return {"status": 500, "message": f"{error}\n"}
