"""Starting and stopping virtual machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .. import common, ha, hooks, machine_state, qemu_config, qemu_pending, volume_features
from ..errors import bad, refuse_if
from ..guestconf import GuestConf
from ..qemu_checks import check_exists
from ..registry import Call, route
from ..tasks import Log
from .lxc_status import overrule
from .qemu import ONE, full_status
from .qemu_devices import check_start

STATUS = ONE + "/status"
STATE_KEYS = ("vmstate", "runningmachine", "runningcpu", "running-nets-host-mtu")
ROOT_ONLY = ("stateuri", "skiplock", "migratedfrom", "migration_type", "migration_network", "targetstorage",
             "force-cpu", "with-conntrack-state", "nets-host-mtu")  # fmt: skip


@route("GET", STATUS + "/current")
def current(call: Call) -> dict[str, Any]:
    """What the machine does now."""
    conf, state = call.conf, call.pve.runtime.all().get(call.vmid)
    found = {**full_status(call, conf, state), "ha": ha.status(call.pve, conf)}
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
    call.only_root(*ROOT_ONLY)
    moved = not call.has("targetstorage") or call.has("migratedfrom")
    refuse_if(not moved, bad(targetstorage="targetstorage can only by used with migratedfrom."))
    if ha.managed(pve, pve.guests.get(vmid)):
        return ha.ask(call, "start", lambda conf, log: start_machine(call, conf, log))

    def work(log: Log) -> None:
        conf = call.conf
        refuse_if(common.is_template(conf), "you can't start a vm if it's a template")
        lock, running = conf.values.get("lock"), pve.running(vmid)
        if lock == "backup" and running:
            return
        if not call.flag("skiplock") and lock != "suspended":
            common.check_lock(conf)
        refuse_if(running, f"VM {vmid} already running")
        start_machine(call, conf, log)

    return call.start_locked("qmstart", work)


def start_machine(call: Call, conf: GuestConf, log: Log) -> None:
    """Applies what is pending, looks at what the start needs, starts, and forgets a saved state."""
    pve, conf = call.pve, _settle(call, conf)
    hooks.run(call, conf, "pre-start", log)
    check_start(call, conf, log)
    if conf.values.get("vmstate"):
        log("Resuming suspended VM")
    pve.backend.start(pve.spec(conf), log)
    hooks.run(call, conf, "post-start", log)
    if conf.values.get("vmstate"):
        volume_features.free(pve, conf.values["vmstate"])
        pve.guests.set(conf, dict.fromkeys((*STATE_KEYS, "lock")))
        log("Resumed VM, removing state")


@route("POST", STATUS + "/stop")
def stop(call: Call) -> str:
    """Stops a machine at once, in a task; one that does not run is no error."""
    call.only_root("skiplock", "keepActive", "migratedfrom")
    if ha.managed(call.pve, call.pve.guests.get(call.vmid)):
        refuse_if(call.flag("overrule-shutdown"), bad(overrule__shutdown="Not applicable for HA resources."))
        return ha.ask(call, "stop", lambda conf, log: _stop(call, conf, log))

    def work(log: Log) -> None:
        overrule(call, "qmshutdown", log)
        with call.locked(log):
            if_running(call, lambda conf: _stop(call, conf, log))

    return call.start("qmstop", call.vmid, work)


def if_running(call: Call, action: Callable[[GuestConf], object]) -> None:
    """Acts on a machine (under its lock); one that does not run is left alone, without an error."""
    check_exists(call.pve, call.vmid)
    if call.pve.running(call.vmid):
        if not call.flag("skiplock"):
            common.check_lock(call.conf)
        action(call.conf)


def _stop(call: Call, conf: GuestConf, log: Log) -> None:
    hooks.run(call, conf, "pre-stop", log)
    call.pve.backend.stop(call.pve.spec(conf), log)
    _stopped(call, conf, log)


def _stopped(call: Call, conf: GuestConf, log: Log) -> None:
    """A machine that has stopped gives its cards back, and takes its pending changes."""
    if "card-dead" in call.faults:
        lost = {device.address for device in call.pve.passed(conf)}
        call.pve.plug([replace(one, revision="ff") if one.address in lost else one for one in call.pve.devices])
    hooks.run(call, conf, "post-stop", log)
    _settle(call, conf)


def _settle(call: Call, conf: GuestConf) -> GuestConf:
    """A machine that is off takes its pending changes; returns its configuration as it is then."""
    fresh = call.pve.conf(conf.vmid, "qemu").copy()
    if not (fresh.pending or fresh.deleted):
        return fresh
    qemu_pending.apply_pending(call, fresh, None, False, {})
    return call.pve.guests.save(fresh)


@route("POST", STATUS + "/shutdown")
def shutdown(call: Call) -> str:
    """Asks a machine to shut down, in a task; one that does not run is no error."""
    call.only_root("skiplock", "keepActive")
    paused = call.vmid in machine_state.paused(call.pve)
    refuse_if(paused and not call.flag("forceStop"), "VM is paused - cannot shutdown")
    if ha.managed(call.pve, call.pve.guests.get(call.vmid)):
        return ha.ask(call, "stop", lambda conf, log: _stop(call, conf, log))

    def work(log: Log) -> None:
        if_running(call, lambda conf: (_stop if paused else _bring_down)(call, conf, log))

    return call.start_locked("qmshutdown", work)


def _bring_down(call: Call, conf: GuestConf, log: Log, force: bool | None = None) -> None:
    hooks.run(call, conf, "pre-stop", log)
    if not call.pve.backend.shutdown(call.pve.spec(conf), float(call.number("timeout", 60)), log):
        forced = call.flag("forceStop") if force is None else force
        refuse_if(not forced, "VM quit/powerdown failed - got timeout")
        log("VM still running - terminating now with SIGTERM")
        call.pve.backend.stop(call.pve.spec(conf), log)
    _stopped(call, conf, log)


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
            start_machine(call, call.conf, log)

        if_running(call, action)

    return call.start_locked("qmreboot", work)
