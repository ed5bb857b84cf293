"""The node: what it is, how it does, which cards it has, and what a fresh one says of itself."""

from __future__ import annotations

import time
from typing import Any

from ..certificate import fingerprint
from ..digests import digest
from ..registry import Call, route
from ..tables import table
from ..words import split_list
from .cluster import node_entry

ONE = "/nodes/{node}"


@route("GET", "/nodes")
def listing(call: Call) -> list[dict[str, Any]]:
    """The nodes: this one."""
    entry = node_entry(call)
    entry.pop("cgroup-mode")
    return [{**entry, "ssl_fingerprint": fingerprint(call.pve.state)}]


@route("GET", ONE + "/version")
def version(call: Call) -> dict[str, str]:
    """The release that the node runs."""
    return dict(table("version"))


@route("GET", ONE + "/status")
def status(call: Call) -> dict[str, Any]:
    """How the node does."""
    node, version = call.pve.node, table("version")
    used, taken = node_entry(call).get("mem", 1 << 30), 1 << 30
    free, left = node.memory - used, node.disk - taken
    return {
        **table("node status"),
        "uptime": int(time.time() - call.pve.started),
        "pveversion": f"pve-manager/{version['version']}/{version['repoid']}",
        "memory": {"total": node.memory, "used": used, "free": free, "available": free},
        "rootfs": {"total": node.disk, "used": taken, "free": left, "avail": left},
        "cpuinfo": {**table("cpuinfo"), "cpus": node.cores, "cores": max(node.cores // 2, 1)},
    }


@route("GET", ONE + "/hardware/pci")
def pci(call: Call) -> list[dict[str, Any]]:
    """The devices of the bus, without the classes that nobody passes through."""
    hidden = split_list(str(call.get("pci-class-blacklist", "05;06;0b")))
    found = [
        d
        for d in (device.listed() for device in call.pve.devices)
        if not any(d["class"][2:].startswith(h) for h in hidden)
    ]
    if not call.flag("verbose", default=True):
        brief = ("id", "vendor", "device", "class", "iommugroup")
        return [{key: d[key] for key in brief} for d in found]
    return found


@route("GET", ONE + "/time")
def clock(call: Call) -> dict[str, Any]:
    """The node's time: its zone is UTC."""
    now = int(time.time())
    return {"timezone": "UTC", "time": now, "localtime": now}


@route("GET", ONE + "/hosts")
def hosts(call: Call) -> dict[str, str]:
    """The text of /etc/hosts."""
    node = call.pve.node
    text = f"127.0.0.1 localhost.localdomain localhost\n{node.address} {node.name}.home.arpa {node.name}\n"
    return {"data": text, "digest": digest(text)}


@route("GET", ONE + "/subscription")
def subscription(call: Call) -> dict[str, str]:
    """No subscription."""
    url = "https://www.proxmox.com/en/proxmox-virtual-environment/pricing"
    found = {"status": "notfound", "message": "There is no subscription key", "url": url}
    if call.allowed(f"/nodes/{call['node']}", "Sys.Audit"):
        found["serverid"] = fingerprint(call.pve.state).replace(":", "")[:32]
    return found
