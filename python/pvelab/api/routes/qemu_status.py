"""Starting and stopping virtual machines."""

from __future__ import annotations

from typing import Any

from ...backend import BackendError
from .. import common, ha, qemu_config, qemu_update
from ..errors import TaskError, failure
from ..guestconf import GuestConf
from ..registry import Call, route
from ..tasks import Log
from .lxc_status import overrule
from .qemu import ONE, full_status, only_root

STATUS = ONE + "/status"


@route("GET", STATUS)
def directory(call: Call) -> list[dict[str, str]]:
    call.pve.conf(call.vmid, "qemu")
    return [{"subdir": n} for n in ("current", "start", "stop", "reset", "shutdown", "suspend", "reboot")]


@route("GET", STATUS + "/current")
def current(call: Call) -> dict[str, Any]:
    conf = call.pve.conf(call.vmid, "qemu")
    state = call.pve.runtime.all().get(call.vmid)
    found = {**full_status(call, conf, state), "ha": ha.status(call.pve, f"vm:{call.vmid}")}
    if conf.values.get("agent", "0").removeprefix("enabled=").startswith("1"):
        found["agent"] = 1
    if "vga" in conf.values:
        found["clipboard"] = None
    return found


@route("POST", STATUS + "/start")
def start(call: Call) -> str:
    pve, vmid = call.pve, call.vmid
    only_root(
        call, "stateuri", "skiplock", "migratedfrom", "migration_type", "migration_network", "targetstorage",
        "force-cpu", "with-conntrack-state", "nets-host-mtu",
    )  # fmt: skip

    def work(log: Log) -> None:
        with pve.lock(vmid, "qemu", log, "lock" in call.faults):
            conf = pve.conf(vmid, "qemu")
            if common.is_template(conf):
                raise TaskError("you can't start a vm if it's a template")
            if not call.flag("skiplock"):
                common.check_lock(conf)
            pve.runtime.forget()
            if pve.running(vmid):
                raise TaskError(f"VM {vmid} already running")
            start_machine(call, conf, log)

    return call.start("qmstart", vmid, work)


def start_machine(call: Call, conf: GuestConf, log: Log) -> None:
    """Applies what is pending, looks for the bridges, and starts."""
    pve = call.pve
    if conf.pending or conf.deleted:
        fresh = conf.copy()
        qemu_update.apply_pending(call, fresh, None, False)
        conf = pve.guests.save(fresh)
    for key, value in sorted(conf.values.items()):
        if key.startswith("net") and key[3:].isdigit():
            bridge = qemu_config.parse_net(value).get("bridge")
            if bridge and bridge not in common.bridges(pve):
                raise TaskError(f"bridge '{bridge}' does not exist")
    try:
        pve.backend.start(pve.spec(conf), log)
    except BackendError as error:
        raise TaskError(str(error)) from error
    finally:
        pve.runtime.forget()


@route("POST", STATUS + "/stop")
def stop(call: Call) -> str:
    only_root(call, "skiplock", "keepActive", "migratedfrom")

    def work(log: Log) -> None:
        if call.flag("overrule-shutdown"):
            overrule(call, "qmshutdown", log)
        _locked(call, log, lambda conf: _stop(call, conf, log))

    return call.start("qmstop", call.vmid, work)


def _locked(call: Call, log: Log, action: Any) -> None:
    """Runs under the guest's lock; a machine that does not run is left alone, without an error."""
    pve, vmid = call.pve, call.vmid
    with pve.lock(vmid, "qemu", log, "lock" in call.faults):
        pve.runtime.forget()
        if not pve.running(vmid):
            return
        conf = pve.conf(vmid, "qemu")
        if not call.flag("skiplock"):
            common.check_lock(conf)
        try:
            action(conf)
        except BackendError as error:
            raise TaskError(str(error)) from error
        finally:
            pve.runtime.forget()


def _stop(call: Call, conf: GuestConf, log: Log) -> None:
    call.pve.backend.stop(call.pve.spec(conf), log)


@route("POST", STATUS + "/shutdown")
def shutdown(call: Call) -> str:
    only_root(call, "skiplock", "keepActive")

    def work(log: Log) -> None:
        _locked(call, log, lambda conf: _bring_down(call, conf, log, call.flag("forceStop")))

    return call.start("qmshutdown", call.vmid, work)


def _bring_down(call: Call, conf: GuestConf, log: Log, force: bool) -> None:
    timeout = float(call.number("timeout", 60))
    if call.pve.backend.shutdown(call.pve.spec(conf), timeout, log):
        return
    if not force:
        raise TaskError("VM quit/powerdown failed - got timeout")
    log("VM quit/powerdown failed - terminating now with SIGTERM")
    _stop(call, conf, log)


def _check_running(call: Call) -> None:
    if not call.pve.running(call.vmid):
        raise failure(f"VM {call.vmid} not running")


@route("POST", STATUS + "/reboot")
def reboot(call: Call) -> str:
    _check_running(call)

    def work(log: Log) -> None:
        def action(conf: GuestConf) -> None:
            _bring_down(call, conf, log, True)
            start_machine(call, call.pve.conf(call.vmid, "qemu"), log)

        _locked(call, log, action)

    return call.start("qmreboot", call.vmid, work)


@route("POST", STATUS + "/reset")
def reset(call: Call) -> str:
    only_root(call, "skiplock")
    _check_running(call)

    def work(log: Log) -> None:
        def action(conf: GuestConf) -> None:
            _stop(call, conf, log)
            start_machine(call, conf, log)

        _locked(call, log, action)

    return call.start("qmreset", call.vmid, work)


@route("POST", STATUS + "/suspend")
def suspend(call: Call) -> str:
    only_root(call, "skiplock")
    _check_running(call)
    kind = "qmsuspend" if call.flag("todisk") else "qmpause"
    return call.start(kind, call.vmid, lambda log: _refuse())


@route("POST", STATUS + "/resume")
def resume(call: Call) -> str:
    only_root(call, "skiplock", "nocheck")
    _check_running(call)
    return call.start("qmresume", call.vmid, lambda log: None)


def _refuse() -> None:
    raise TaskError("pvelab does not support suspending machines")
