"""The firewall log of guests."""

from __future__ import annotations

from typing import Any

from ..registry import Call, route


@route("GET", "/nodes/{node}/lxc/{vmid}/firewall/log")
@route("GET", "/nodes/{node}/qemu/{vmid}/firewall/log")
def log(call: Call) -> list[dict[str, Any]]:
    """The lines that name the guest: no packet is logged here, so there are none."""
    call.attributes["total"] = 0
    return [{"n": 1, "t": "no content"}]
