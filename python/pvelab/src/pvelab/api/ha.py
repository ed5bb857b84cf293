"""What is under high-availability management."""

from __future__ import annotations

from collections.abc import Callable

from .guestconf import GuestConf
from .pve import Pve
from .registry import Call
from .tasks import Log

STATES = {"start": "started", "stop": "stopped"}


def resource_id(conf: GuestConf) -> str:
    """ct:101 for a container, vm:101 for a virtual machine."""
    return f"{'ct' if conf.kind == 'lxc' else 'vm'}:{conf.vmid}"


def managed(pve: Pve, conf: GuestConf | None) -> bool:
    """Whether a guest is managed."""
    return conf is not None and resource_id(conf) in pve.table("ha_resources")


def status(pve: Pve, conf: GuestConf) -> dict[str, object]:
    """The `ha` part of a guest's status."""
    found = pve.table("ha_resources").get(resource_id(conf))
    return {"managed": 0} if found is None else {"managed": 1, "state": found.get("state", "started")}


def manage(pve: Pve, conf: GuestConf, state: str) -> None:
    """Puts a guest under management, or gives a managed one another state."""
    with pve.cluster.changed():
        pve.table("ha_resources").setdefault(resource_id(conf), {})["state"] = state


def ask(call: Call, verb: str, act: Callable[[GuestConf, Log], object]) -> str:
    """What PVE does for a managed guest: it asks the manager. `act` does what the manager would."""

    def work(log: Log) -> None:
        conf = call.conf
        log(f"Requesting HA {verb} for {resource_id(conf)[:2].upper()} {call.vmid}")
        manage(call.pve, conf, STATES[verb])
        if call.pve.running(call.vmid) == (verb == "stop"):
            act(conf, log)

    return call.start(f"ha{verb}", call.vmid, work)


def forget(pve: Pve, conf: GuestConf) -> None:
    """Stops managing a guest."""
    with pve.cluster.lock:
        if pve.table("ha_resources").pop(resource_id(conf), None) is not None:
            pve.cluster.save()
