"""Starting and stopping containers."""

from __future__ import annotations

from typing import Any

from ...backend import BackendError
from .. import common, ha, lxc_update, volume_features
from ..errors import TaskError, bad, refuse_if
from ..guestconf import GuestConf
from ..registry import Call, route
from ..tasks import Log
from ..words import truth
from .lxc import ONE, status

STATUS = ONE + "/status"


@route("GET", STATUS + "/current")
def current(call: Call) -> dict[str, Any]:
    """What the container does now."""
    conf = call.pve.conf(call.vmid, "lxc")
    found = status(call, conf, call.pve.runtime.all().get(call.vmid))
    found["ha"] = ha.status(call.pve, f"ct:{call.vmid}")
    return found


def only_root(call: Call, name: str) -> None:
    """Raises unless an option is unused or the caller is root@pam by ticket."""
    refuse_if(call.flag(name) and not call.is_root, bad(**{name: "Only root may use this option."}))


@route("POST", STATUS + "/start")
def start(call: Call) -> str:
    """Starts a container in a task."""
    pve, vmid = call.pve, call.vmid
    only_root(call, "skiplock")
    refuse_if(pve.running(vmid), f"CT {vmid} already running")

    def work(log: Log) -> None:
        with pve.lock(vmid, "lxc", log, "lock" in call.faults):
            conf = pve.conf(vmid, "lxc")
            refuse_if(common.is_template(conf), TaskError("you can't start a CT if it's a template"))
            if not call.flag("skiplock") and conf.values.get("lock") != "mounted":
                common.check_lock(conf)
            if truth(conf.values.get("unprivileged")):
                _check_quotas(conf)
            start_container(call, conf, log)

    return _by_ha(call, "start", "started") if ha.managed(pve, f"ct:{vmid}") else call.start("vzstart", vmid, work)


def _by_ha(call: Call, verb: str, state: str) -> str:
    """Start or stop of a guest under high availability."""

    def follow(log: Log) -> None:
        conf, running = call.pve.conf(call.vmid, "lxc"), call.pve.running(call.vmid)
        if state == "started" and not running:
            start_container(call, conf, log)
        elif state == "stopped" and running:
            bring_down(call, conf, log, 60.0, True)

    return ha.ask(call, f"ct:{call.vmid}", verb, state, follow)


def _check_quotas(conf: GuestConf) -> None:
    for _, fields, _ in volume_features.each("lxc", conf.values):
        refuse_if(truth(fields.get("quota")), TaskError("Quotas are not supported by unprivileged containers."))


def start_container(call: Call, conf: GuestConf, log: Log) -> None:
    """Applies what is pending, looks for devices and bridges, and starts."""
    pve = call.pve
    if conf.pending or conf.deleted:
        fresh = conf.copy()
        lxc_update.apply_pending(call, fresh, None, {})
        conf = pve.guests.save(fresh)
    lxc_update.check_built(pve, conf)
    try:
        pve.backend.start(pve.spec(conf), log)
    except BackendError as error:
        raise TaskError(str(error)) from error
    finally:
        pve.runtime.forget()


def _check_running(call: Call, word: str = "CT") -> None:
    refuse_if(not call.pve.running(call.vmid), f"{word} {call.vmid} not running")


@route("POST", STATUS + "/stop")
def stop(call: Call) -> str:
    """Stops a container at once, in a task."""
    pve, vmid = call.pve, call.vmid
    only_root(call, "skiplock")
    _check_running(call)
    if ha.managed(pve, f"ct:{vmid}"):
        refuse_if(call.flag("overrule-shutdown"), bad(overrule__shutdown="Not applicable for HA resources."))
        return _by_ha(call, "stop", "stopped")

    def work(log: Log) -> None:
        if call.flag("overrule-shutdown"):
            overrule(call, "vzshutdown", log)
        with pve.lock(vmid, "lxc", log, "lock" in call.faults):
            conf = pve.conf(vmid, "lxc")
            if not call.flag("skiplock") and conf.values.get("lock") != "mounted":
                common.check_lock(conf)
            pve.backend.stop(pve.spec(conf), log)
            pve.runtime.forget()

    return call.start("vzstop", vmid, work)


def overrule(call: Call, kind: str, log: Log) -> None:
    """Ends running shutdown tasks of the guest."""
    ended = [task for task in call.pve.tasks.running_for(call.vmid, (kind,)) if task.user == call.user or call.is_root]
    for task in ended:
        task.stop.set()
    if ended:
        log(f"overruled {kind} tasks: {', '.join(t.upid for t in ended)}")


@route("POST", STATUS + "/shutdown")
def shutdown(call: Call) -> str:
    """Asks a container to shut down, in a task."""
    pve, vmid = call.pve, call.vmid
    _check_running(call)
    if ha.managed(pve, f"ct:{vmid}"):
        return _by_ha(call, "stop", "stopped")

    def work(log: Log) -> None:
        with pve.lock(vmid, "lxc", log, "lock" in call.faults):
            conf = pve.conf(vmid, "lxc")
            common.check_lock(conf)
            bring_down(call, conf, log, float(call.number("timeout", 60)), call.flag("forceStop"))

    return call.start("vzshutdown", vmid, work)


def bring_down(call: Call, conf: GuestConf, log: Log, timeout: float, force: bool) -> None:
    """Shuts a container down; stops it after the timeout only when forced."""
    try:
        ended = call.pve.backend.shutdown(call.pve.spec(conf), timeout, log)
        if not ended and force:
            call.pve.backend.stop(call.pve.spec(conf), log)
            ended = True
    except BackendError as error:
        raise TaskError(str(error)) from error
    finally:
        call.pve.runtime.forget()
    refuse_if(not ended, TaskError("container did not stop"))


@route("POST", STATUS + "/reboot")
def reboot(call: Call) -> str:
    """Shuts a container down and starts it again, with its pending changes."""
    pve, vmid = call.pve, call.vmid
    _check_running(call, "VM")

    def work(log: Log) -> None:
        with pve.lock(vmid, "lxc", log, "lock" in call.faults):
            conf = pve.conf(vmid, "lxc")
            if pve.running(vmid):
                bring_down(call, conf, log, float(call.number("timeout", 60)), True)
                start_container(call, pve.conf(vmid, "lxc"), log)

    return call.start("vzreboot", vmid, work)


@route("POST", STATUS + "/suspend")
def suspend(call: Call) -> str:
    """Checkpoints a running container, which fails where criu is missing, as on every plain node."""
    _check_running(call)

    def work(log: Log) -> None:
        with call.pve.lock(call.vmid, "lxc", log, "lock" in call.faults):
            common.check_lock(call.pve.conf(call.vmid, "lxc"))
            raise TaskError(f"command 'lxc-checkpoint -n {call.vmid} -s -D /var/lib/vz/dump' failed: exit code 1")

    return call.start("vzsuspend", call.vmid, work)


@route("POST", STATUS + "/resume")
def resume(call: Call) -> str:
    """Restores a checkpointed container, which fails for want of a checkpoint."""
    refuse_if(call.pve.running(call.vmid), f"CT {call.vmid} already running")

    def work(log: Log) -> None:
        command = f"lxc-checkpoint -n {call.vmid} -r --foreground -D /var/lib/vz/dump"
        raise TaskError(f"command '{command}' failed: exit code 1")

    return call.start("vzresume", call.vmid, work)
