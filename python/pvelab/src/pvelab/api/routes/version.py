"""The top of the tree, the version, and the lab's own endpoints."""

from __future__ import annotations

from typing import Any

from ..errors import bad
from ..faults import BODIES, KINDS
from ..pci import Device
from ..registry import Call, route
from ..tables import table


@route("GET", "/version")
def version(call: Call) -> dict[str, str]:
    """The release that the node runs."""
    return dict(table("version"))


@route("GET", "/pvelab", root_only=True)
def lab(call: Call) -> list[dict[str, str]]:
    return [{"subdir": "faults"}, {"subdir": "requests"}, {"subdir": "lag"}, {"subdir": "locks"}, {"subdir": "pci"}]


@route("GET", "/pvelab/faults", root_only=True)
def list_faults(call: Call) -> list[dict[str, Any]]:
    return call.pve.faults.rules


@route("POST", "/pvelab/faults", root_only=True)
def add_fault(call: Call) -> dict[str, Any]:
    rule: dict[str, Any] = dict(call.params)
    if rule.get("kind") not in KINDS:
        raise bad(kind=f"value '{rule.get('kind')}' does not have a value in the enumeration '{', '.join(KINDS)}'")
    if rule["kind"] == "answer" and rule.setdefault("body", BODIES[0]) not in BODIES:
        raise bad(body=f"value '{rule['body']}' does not have a value in the enumeration '{', '.join(BODIES)}'")
    for name in ("count", "skip", "status"):
        if name in rule:
            rule[name] = int(rule[name])
    return call.pve.faults.add(rule)


@route("DELETE", "/pvelab/faults", root_only=True)
def clear_faults(call: Call) -> None:
    call.pve.faults.clear(int(call["id"]) if call.has("id") else None)


@route("PUT", "/pvelab/lag", root_only=True)
def set_lag(call: Call) -> None:
    """How many seconds old /cluster/resources may be, as on a real node, where it is up to ten."""
    call.pve.broadcasted()
    call.pve.broadcast.lag = float(call["seconds"])


@route("GET", "/pvelab/pci", root_only=True)
def list_devices(call: Call) -> list[dict[str, Any]]:
    return [device.as_json() for device in call.pve.devices]


@route("PUT", "/pvelab/pci", root_only=True)
def set_devices(call: Call) -> None:
    """What is on the PCI bus from now on, until the server ends: a card moves, comes, goes."""
    try:
        call.pve.plug([Device.parse(item) for item in call["devices"]])
    except (TypeError, ValueError) as error:
        raise bad(devices=str(error)) from error


@route("GET", "/pvelab/requests", root_only=True)
def requests(call: Call) -> dict[str, Any]:
    faults = call.pve.faults
    counts = dict(faults.counts)
    writes = sum(n for method, n in counts.items() if method != "GET")
    return {"counts": counts, "total": sum(counts.values()), "writes": writes, "requests": list(faults.requests)}


@route("DELETE", "/pvelab/requests", root_only=True)
def clear_requests(call: Call) -> None:
    call.pve.faults.requests.clear()
    call.pve.faults.counts.clear()


@route("DELETE", "/pvelab/locks/{vmid}", root_only=True)
def unlock(call: Call) -> None:
    """What `pct unlock` and `qm unlock` do on the node."""
    found = call.pve.guests.get(call.vmid)
    if found:
        call.pve.guests.set(found, {"lock": None})
