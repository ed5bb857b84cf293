"""What the HA stack says: no manager runs in the lab, so it stands by and resources stay queued."""

from __future__ import annotations

from typing import Any

from ..registry import Call, index, route

BASE = "/cluster/ha"
index(BASE, "id", "status", "resources", "groups", "rules")
index(BASE + "/status", "name", "current", "manager_status", "disarm-ha", "arm-ha")
SHARED = ("max_restart", "max_relocate", "failback", "comment")


@route("GET", BASE + "/status/current")
def current(call: Call) -> list[dict[str, Any]]:
    """The quorum, fencing, and every managed resource."""
    node = call.pve.node.name
    found: list[dict[str, Any]] = [
        {"id": "quorum", "type": "quorum", "node": node, "status": "OK", "quorate": 1},
        {
            "id": "fencing",
            "type": "fencing",
            "node": node,
            "status": "standby (CRM watchdog standby)",
            "armed-state": "standby",
        },
    ]
    return found + [_service(call, sid, entry) for sid, entry in sorted(call.pve.table("ha_resources").items())]


def _service(call: Call, sid: str, entry: dict[str, Any]) -> dict[str, Any]:
    conf = call.pve.guests.get(int(sid.partition(":")[2]))
    wanted = entry.get("state", "started")
    state = "ignored" if wanted == "ignored" else "queued" if conf else "not found"
    node = call.pve.node.name if conf else "---"
    found = {"id": f"service:{sid}", "type": "service", "sid": sid, "node": node if conf else None, "state": state}
    defaults = {"max_restart": 1, "max_relocate": 1, "failback": 1, **entry}
    shared = {key: defaults[key] for key in SHARED if defaults.get(key) is not None}
    return {**found, "status": f"{sid} ({node}, {state})", "request_state": wanted, **shared}


@route("GET", BASE + "/status/manager_status")
def manager_status(call: Call) -> dict[str, Any]:
    """The manager's own record, which is empty."""
    return {"manager_status": {"node_status": {}}, "quorum": {"node": call.pve.node.name, "quorate": "1"}}


@route("POST", BASE + "/status/arm-ha")
def arm(call: Call) -> None:
    """Asks the manager to fence again: noted by nobody, as none runs."""


@route("POST", BASE + "/status/disarm-ha")
def disarm(call: Call) -> None:
    """Asks the manager to stop fencing: noted by nobody, as none runs."""
