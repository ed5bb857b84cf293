"""Starting, stopping, pausing and hibernating virtual machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...backend import BackendError
from .. import common, ha, machine_state, qemu_config, qemu_pending, volume_features
from ..errors import TaskError, bad, refuse_if
from ..guestconf import GuestConf
from ..qemu_checks import check_exists
from ..registry import Call, route
from ..tasks import Log
from .lxc_status import overrule
from .qemu import ONE, full_status, only_root
from .qemu_devices import check_start

STATUS = ONE + "/status"
STATE_KEYS = ("vmstate", "runningmachine", "runningcpu", "running-nets-host-mtu")


@route("GET", STATUS + "/current")
def current(call: Call) -> dict[str, Any]:
    """What the machine does now."""
    conf = call.pve.conf(call.vmid, "qemu")
    state = call.pve.runtime.all().get(call.vmid)
    found = {**full_status(call, conf, state), "ha": ha.status(call.pve, f"vm:{call.vmid}")}
    if qemu_config.agent_enabled(conf):
        found["agent"] = 1
    if conf.values.get("vga"):
        vga = dict(part.partition("=")[::2] for part in conf.values["vga"].split(",") if "=" in part)
        kind = str(vga.get("type") or conf.values["vga"].partition(",")[0])
        if kind.startswith(("virtio", "qxl")):
            found["spice"] = 1
        found["clipboard"] = vga.get("clipboard")
    return found


@route("POST", STATUS + "/start")
def start(call: Call) -> str:
    """Starts a machine in a task."""
    pve, vmid = call.pve, call.vmid
    only_root(
        call, "stateuri", "skiplock", "migratedfrom", "migration_type", "migration_network", "targetstorage",
        "force-cpu", "with-conntrack-state", "nets-host-mtu",
    )  # fmt: skip
    if call.has("targetstorage") and not call.has("migratedfrom"):
        raise bad(targetstorage="targetstorage can only by used with migratedfrom.")

    def work(log: Log) -> None:
        with pve.lock(vmid, "qemu", log, "lock" in call.faults):
            conf = pve.conf(vmid, "qemu")
            refuse_if(common.is_template(conf), TaskError("you can't start a vm if it's a template"))
            pve.runtime.forget()
            lock, running = conf.values.get("lock"), pve.running(vmid)
            if lock == "backup" and running:
                return
            if not call.flag("skiplock") and lock != "suspended":
                common.check_lock(conf)
            refuse_if(running, TaskError(f"VM {vmid} already running"))
            start_machine(call, conf, log)

    managed = ha.managed(pve, f"vm:{vmid}")
    return _by_ha(call, "start", "started") if managed else call.start("qmstart", vmid, work)


def _by_ha(call: Call, verb: str, state: str) -> str:
    """Start or stop of a guest under high availability."""

    def follow(log: Log) -> None:
        conf, running = call.pve.conf(call.vmid, "qemu"), call.pve.running(call.vmid)
        if state == "started" and not running:
            start_machine(call, conf, log)
        elif state == "stopped" and running:
            _stop(call, conf, log)
            call.pve.runtime.forget()

    return ha.ask(call, f"vm:{call.vmid}", verb, state, follow)


def start_machine(call: Call, conf: GuestConf, log: Log) -> None:
    """Applies what is pending, looks at what the start needs, starts, and forgets a saved state."""
    pve, fresh = call.pve, conf.copy()
    if conf.pending or conf.deleted:
        qemu_pending.apply_pending(call, fresh, None, False, {})
    fresh.cloudinit = {}
    if fresh != conf:
        conf = pve.guests.save(fresh)
    check_start(call, conf, log)
    if conf.values.get("vmstate"):
        log("Resuming suspended VM")
    try:
        pve.backend.start(pve.spec(conf), log)
    except BackendError as error:
        raise TaskError(str(error)) from error
    finally:
        pve.runtime.forget()
    if conf.values.get("vmstate"):
        _forget_state(call, conf)
        log("Resumed VM, removing state")


def _forget_state(call: Call, conf: GuestConf) -> None:
    fresh = conf.copy()
    volume_features.free(call.pve, fresh.values["vmstate"])
    for key in (*STATE_KEYS, "lock"):
        fresh.values.pop(key, None)
    call.pve.guests.save(fresh)


@route("POST", STATUS + "/stop")
def stop(call: Call) -> str:
    """Stops a machine at once, in a task; one that does not run is no error."""
    only_root(call, "skiplock", "keepActive", "migratedfrom")
    if ha.managed(call.pve, f"vm:{call.vmid}"):
        refuse_if(call.flag("overrule-shutdown"), bad(overrule__shutdown="Not applicable for HA resources."))
        return _by_ha(call, "stop", "stopped")

    def work(log: Log) -> None:
        if call.flag("overrule-shutdown"):
            overrule(call, "qmshutdown", log)
        locked(call, log, lambda conf: _stop(call, conf, log))

    return call.start("qmstop", call.vmid, work)


def locked(call: Call, log: Log, action: Callable[[GuestConf], object]) -> None:
    """Runs under the guest's lock; a machine that does not run is left alone, without an error."""
    pve, vmid = call.pve, call.vmid
    with pve.lock(vmid, "qemu", log, "lock" in call.faults):
        pve.runtime.forget()
        check_exists(pve, vmid)
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
    _settle(call, conf)


def _settle(call: Call, conf: GuestConf) -> None:
    """A machine that has stopped takes its pending changes."""
    fresh = call.pve.conf(conf.vmid, "qemu").copy()
    if fresh.pending or fresh.deleted:
        qemu_pending.apply_pending(call, fresh, None, False, {})
        call.pve.guests.save(fresh)


@route("POST", STATUS + "/shutdown")
def shutdown(call: Call) -> str:
    """Asks a machine to shut down, in a task; one that does not run is no error."""
    only_root(call, "skiplock", "keepActive")
    kill = False
    if call.vmid in machine_state.paused(call.pve):
        refuse_if(not call.flag("forceStop"), "VM is paused - cannot shutdown")
        kill = True
    if ha.managed(call.pve, f"vm:{call.vmid}"):
        return _by_ha(call, "stop", "stopped")

    def work(log: Log) -> None:
        action = _stop if kill else _bring_down
        locked(call, log, lambda conf: action(call, conf, log))

    return call.start("qmshutdown", call.vmid, work)


def _bring_down(call: Call, conf: GuestConf, log: Log, force: bool | None = None) -> None:
    timeout = float(call.number("timeout", 60))
    if not call.pve.backend.shutdown(call.pve.spec(conf), timeout, log):
        if not (call.flag("forceStop") if force is None else force):
            raise TaskError("VM quit/powerdown failed - got timeout")
        log("VM still running - terminating now with SIGTERM")
        call.pve.backend.stop(call.pve.spec(conf), log)
    _settle(call, conf)


def check_running(call: Call, unchecked: bool = False) -> None:
    """Raises unless the machine is there and runs; one that may be elsewhere is not looked for."""
    if not unchecked:
        check_exists(call.pve, call.vmid)
    refuse_if(not call.pve.running(call.vmid), f"VM {call.vmid} not running")


@route("POST", STATUS + "/reboot")
def reboot(call: Call) -> str:
    """Shuts a machine down and starts it again, with its pending changes."""
    refuse_if(call.vmid in machine_state.paused(call.pve), "VM is paused - cannot shutdown")
    check_running(call)

    def work(log: Log) -> None:
        def action(conf: GuestConf) -> None:
            _bring_down(call, conf, log, True)
            start_machine(call, call.pve.conf(call.vmid, "qemu"), log)

        locked(call, log, action)

    return call.start("qmreboot", call.vmid, work)
