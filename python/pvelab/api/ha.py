"""What is under high-availability management."""

from __future__ import annotations

from .pve import Pve


def managed(pve: Pve, sid: str) -> bool:
    """Whether a resource such as ct:101 is managed."""
    return sid in pve.table("ha_resources")


def status(pve: Pve, sid: str) -> dict[str, object]:
    """The `ha` part of a guest's status."""
    found = pve.table("ha_resources").get(sid)
    if found is None:
        return {"managed": 0}
    return {"managed": 1, "state": found.get("state", "started")}


def forget(pve: Pve, sid: str) -> None:
    """Stops managing a resource."""
    with pve.cluster.lock:
        if pve.table("ha_resources").pop(sid, None) is not None:
            pve.cluster.save()
