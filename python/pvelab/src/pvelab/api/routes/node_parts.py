"""Parts of a node that the lab has only as far as a client asks after them."""

from __future__ import annotations

import time
from typing import Any

from .. import answers, certificate
from ..errors import failure
from ..registry import Call, route

ONE = "/nodes/{node}"
NODE_STEPS = {"hour": 60, "day": 1800, "week": 1800, "month": 21600, "year": 604800, "decade": 604800}
GUEST_STEPS = {"hour": (60, 60), "day": (60, 1440), "week": (1800, 336), "month": (1800, 1440), "year": (21600, 1440)}


@route("GET", ONE + "/subscription")
def subscription(call: Call) -> dict[str, str]:
    """No subscription."""
    url = "https://www.proxmox.com/en/proxmox-virtual-environment/pricing"
    found = {"status": "notfound", "message": "There is no subscription key", "url": url}
    if call.allowed(f"/nodes/{call['node']}", "Sys.Audit"):
        found["serverid"] = certificate.fingerprint(call.pve.state).replace(":", "")[:32]
    return found


@route("GET", ONE + "/certificates/info", slow=True)
def certificates(call: Call) -> list[dict[str, Any]]:
    """The certificate that the server shows."""
    return [certificate.facts(call.pve.state)]


@route("GET", ONE + "/services/{service}/state")
def service(call: Call) -> Any:
    """One service of the constant list of them."""
    return next(item for item in answers.known(ONE + "/services") if item["service"] == call["service"])


def _times(step: int, count: int) -> list[dict[str, int]]:
    """The times of a time frame; no statistics are collected, so they hold nothing else."""
    last = int(time.time()) // step * step
    return [{"time": last - step * n} for n in range(count, 1, -1)]


@route("GET", ONE + "/rrddata")
@route("GET", ONE + "/storage/{storage}/rrddata")
def node_statistics(call: Call) -> list[dict[str, int]]:
    """The times of a time frame of the node or a storage."""
    return _times(NODE_STEPS[str(call["timeframe"])], 70)


@route("GET", ONE + "/lxc/{vmid}/rrddata")
@route("GET", ONE + "/qemu/{vmid}/rrddata")
def guest_statistics(call: Call) -> list[dict[str, int]]:
    """The times of a time frame of a guest."""
    if call.pve.guests.get(call.vmid) is None:
        file = f"/var/lib/rrdcached/db/pve-vm-9.0/{call.vmid}"
        raise failure(f"RRD error: opening '{file}': No such file or directory")
    return _times(*GUEST_STEPS[str(call["timeframe"])])


@route("GET", ONE + "/firewall/log")
def firewall_log(call: Call) -> list[dict[str, Any]]:
    """The log of the node's firewall: that its logger runs."""
    line = f"0 5 - {time.strftime('%d/%b/%Y:%H:%M:%S +0000', time.gmtime(call.pve.started))} starting pvefw logger"
    call.attributes["total"] = 1
    return [{"n": 1, "t": line}] if not call.number("start") else []
