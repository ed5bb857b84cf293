"""Starting and stopping containers."""

from __future__ import annotations

from typing import Any

from .. import common, ha, lxc_update, volume_features
from ..errors import bad, failure, refuse_if
from ..guestconf import GuestConf
from ..registry import Call, route
from ..tasks import Log
from ..words import truth
from .lxc import ONE, status

STATUS = ONE + "/status"


@route("GET", STATUS + "/current")
def current(call: Call) -> dict[str, Any]:
    """What the container does now."""
    return {**status(call, call.conf, call.pve.runtime.all().get(call.vmid)), "ha": ha.status(call.pve, call.conf)}


@route("POST", STATUS + "/start")
def start(call: Call) -> str:
    """Starts a container in a task."""
    call.only_root("skiplock")
    refuse_if(call.pve.running(call.vmid), f"CT {call.vmid} already running")
    if ha.managed(call.pve, call.pve.guests.get(call.vmid)):
        return ha.ask(call, "start", lambda conf, log: start_container(call, conf, log))

    def work(log: Log) -> None:
        conf = call.conf
        refuse_if(common.is_template(conf), "you can't start a CT if it's a template")
        _check_lock(call, conf)
        for _, fields, _ in volume_features.each("lxc", conf.values) if truth(conf.values.get("unprivileged")) else ():
            refuse_if(truth(fields.get("quota")), "Quotas are not supported by unprivileged containers.")
        start_container(call, conf, log)

    return call.start_locked("vzstart", work)


def _check_lock(call: Call, conf: GuestConf) -> None:
    if not call.flag("skiplock") and conf.values.get("lock") != "mounted":
        common.check_lock(conf)


def start_container(call: Call, conf: GuestConf, log: Log) -> None:
    """Applies what is pending, looks for devices and bridges, and starts."""
    pve = call.pve
    if conf.pending or conf.deleted:
        fresh = conf.copy()
        lxc_update.apply_pending(call, fresh, None, {})
        conf = pve.guests.save(fresh)
    lxc_update.check_built(pve, conf)
    pve.backend.start(pve.spec(conf), log)


def _check_running(call: Call, word: str = "CT") -> None:
    refuse_if(not call.pve.running(call.vmid), f"{word} {call.vmid} not running")


@route("POST", STATUS + "/stop")
def stop(call: Call) -> str:
    """Stops a container at once, in a task."""
    call.only_root("skiplock")
    _check_running(call)
    if ha.managed(call.pve, call.pve.guests.get(call.vmid)):
        return _stop_by_manager(call)

    def work(log: Log) -> None:
        overrule(call, "vzshutdown", log)
        with call.locked(log):
            _check_lock(call, call.conf)
            call.pve.backend.stop(call.pve.spec(call.conf), log)

    return call.start("vzstop", call.vmid, work)


def _stop_by_manager(call: Call) -> str:
    refuse_if(call.flag("overrule-shutdown"), bad(overrule__shutdown="Not applicable for HA resources."))
    return ha.ask(call, "stop", lambda conf, log: bring_down(call, conf, log, True))


def overrule(call: Call, kind: str, log: Log) -> None:
    """Ends running shutdown tasks of the guest where the call asks for that."""
    running = call.pve.tasks.running_for(call.vmid, (kind,)) if call.flag("overrule-shutdown") else []
    ended = [task for task in running if task.user == call.user or call.is_root]
    for task in ended:
        task.stop.set()
    if ended:
        log(f"overruled {kind} tasks: {', '.join(t.upid for t in ended)}")


@route("POST", STATUS + "/shutdown")
def shutdown(call: Call) -> str:
    """Asks a container to shut down, in a task."""
    _check_running(call)
    if ha.managed(call.pve, call.pve.guests.get(call.vmid)):
        return _stop_by_manager(call)

    def work(log: Log) -> None:
        common.check_lock(call.conf)
        bring_down(call, call.conf, log, call.flag("forceStop"))

    return call.start_locked("vzshutdown", work)


def bring_down(call: Call, conf: GuestConf, log: Log, force: bool) -> None:
    """Shuts a container down; stops it after the timeout only when forced."""
    backend, spec = call.pve.backend, call.pve.spec(conf)
    if not backend.shutdown(spec, float(call.number("timeout", 60)), log):
        refuse_if(not force, "container did not stop")
        backend.stop(spec, log)


@route("POST", STATUS + "/reboot")
def reboot(call: Call) -> str:
    """Shuts a container down and starts it again, with its pending changes."""
    _check_running(call, "VM")

    def work(log: Log) -> None:
        if call.pve.running(call.vmid):
            bring_down(call, call.conf, log, True)
            start_container(call, call.conf, log)

    return call.start_locked("vzreboot", work)


@route("POST", STATUS + "/suspend")
def suspend(call: Call) -> str:
    """Checkpoints a running container, which fails where criu is missing, as on every plain node."""
    _check_running(call)

    def work(log: Log) -> None:
        common.check_lock(call.conf)
        raise failure(f"command 'lxc-checkpoint -n {call.vmid} -s -D /var/lib/vz/dump' failed: exit code 1")

    return call.start_locked("vzsuspend", work)


@route("POST", STATUS + "/resume")
def resume(call: Call) -> str:
    """Restores a checkpointed container, which fails for want of a checkpoint."""
    refuse_if(call.pve.running(call.vmid), f"CT {call.vmid} already running")

    def work(log: Log) -> None:
        command = f"lxc-checkpoint -n {call.vmid} -r --foreground -D /var/lib/vz/dump"
        raise failure(f"command '{command}' failed: exit code 1")

    return call.start("vzresume", call.vmid, work)
