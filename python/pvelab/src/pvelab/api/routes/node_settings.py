"""What a fresh node says of itself."""

from __future__ import annotations

import time
from typing import Any

from ..certificate import fingerprint
from ..digests import digest
from ..registry import Call, route

ONE = "/nodes/{node}"


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
