"""What is under high-availability management."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .pve import Pve

if TYPE_CHECKING:
    from .registry import Call
    from .tasks import Log


def managed(pve: Pve, sid: str) -> bool:
    """Whether a resource such as ct:101 is managed."""
    return sid in pve.table("ha_resources")


def status(pve: Pve, sid: str) -> dict[str, object]:
    """The `ha` part of a guest's status."""
    found = pve.table("ha_resources").get(sid)
    if found is None:
        return {"managed": 0}
    return {"managed": 1, "state": found.get("state", "started")}


def ask(call: Call, sid: str, verb: str, state: str, follow: Callable[[Log], None]) -> str:
    """What PVE does for a managed guest: it asks the manager. `follow` does what the manager would."""

    def work(log: Log) -> None:
        log(f"Requesting HA {verb} for {sid.partition(':')[0].upper()} {call.vmid}")
        with call.pve.cluster.lock:
            call.pve.table("ha_resources")[sid]["state"] = state
            call.pve.cluster.save()
        follow(log)

    return call.start(f"ha{verb}", call.vmid, work)


def forget(pve: Pve, sid: str) -> None:
    """Stops managing a resource."""
    with pve.cluster.lock:
        if pve.table("ha_resources").pop(sid, None) is not None:
            pve.cluster.save()
