"""Resetting, pausing and hibernating virtual machines."""

from __future__ import annotations

import time

from .. import common, ha, machine_state
from ..errors import existing, refuse_if
from ..guestconf import GuestConf
from ..registry import Call, route
from ..tasks import Log
from .qemu_status import STATUS, check_running, if_running, start_machine


@route("POST", STATUS + "/reset")
def reset(call: Call) -> str:
    """Resets a running machine: nothing pending is applied."""
    call.only_root("skiplock")
    check_running(call)

    def work(log: Log) -> None:
        def action(conf: GuestConf) -> None:
            if call.pve.backend.name != "none":  # else the process stays, and there is none
                call.pve.backend.stop(call.pve.spec(conf), log)
                call.pve.backend.start(call.pve.spec(conf), log)

        if_running(call, action)

    return call.start_locked("qmreset", work)


@route("POST", STATUS + "/suspend")
def suspend(call: Call) -> str:
    """Pauses a running machine, or saves its memory to a volume and stops it."""
    call.only_root("skiplock")
    check_running(call)
    conf, sid = call.conf, call.get("statestorage")
    to_disk = call.flag("todisk")
    if to_disk:
        refuse_if(ha.managed(call.pve, conf), "Cannot suspend HA managed VM to disk")
        common.check_vm(call, call.vmid, None, "VM.Config.Disk")
        text = "cannot suspend VM to disk due to passed-through PCI device(s), which lack the"
        passed = any(key.startswith("hostpci") for key in conf.values)
        refuse_if(passed, f"{text} possibility to save/restore their internal state")
        sid = str(sid or machine_state.state_storage(call.pve, conf))
        call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
    kind = "qmsuspend" if to_disk else "qmpause"
    return call.start_locked(kind, lambda log: _suspend(call, sid, log))


def _suspend(call: Call, sid: str | None, log: Log) -> None:
    pve, conf, to_disk = call.pve, call.conf.copy(), call.flag("todisk")
    if not call.flag("skiplock") and conf.values.get("lock") != "backup":
        common.check_lock(conf)
    machine_state.check_savable(conf, to_disk)
    paused = existing(getattr(pve.backend, "paused", None), "pvelab does not support suspending machines")
    if not to_disk:
        paused.add(call.vmid)
        return
    refuse_if(conf.values.get("lock") == "backup", "cannot suspend to disk during backup")
    conf.values |= machine_state.save(call, conf, f"state-suspend-{time.strftime('%Y-%m-%d')}", sid)
    conf.values["lock"] = "suspended"
    log("State saved, quitting")
    pve.backend.stop(pve.spec(conf), log)
    pve.guests.save(conf)


@route("POST", STATUS + "/resume")
def resume(call: Call) -> str:
    """Lets a paused machine run on, or starts one whose memory was saved."""
    call.only_root("skiplock", "nocheck")
    pve, vmid = call.pve, call.vmid
    found = pve.guests.get(vmid)
    saved = found is not None and found.values.get("lock") == "suspended"
    if not saved:
        check_running(call, call.flag("nocheck"))

    def work(log: Log) -> None:
        conf = call.conf
        if saved:
            start_machine(call, conf, log)
            return
        refuse_if(common.is_template(conf), f"VM {vmid} is a template and cannot be resumed!")
        if vmid in machine_state.paused(pve):
            if not call.flag("skiplock") and conf.values.get("lock") != "backup":
                common.check_lock(conf)
            getattr(pve.backend, "paused", set()).discard(vmid)

    return call.start_locked("qmresume", work)
