"""Consoles and statistics of guests."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from typing import Any

from ..errors import ApiError, TaskError, failure
from ..registry import Call, route
from ..tasks import Log

FIRST_PORT = 5900
STEPS = {"hour": (60, 60), "day": (60, 1440), "week": (1800, 336), "month": (1800, 1440), "year": (21600, 1440)}
PATIENCE = 10.0


def kind_of(call: Call) -> str:
    """Whether a path is about a container or a machine."""
    return "lxc" if "/lxc/" in call.path else "qemu"


def _ticket(call: Call) -> str:
    secret = base64.b64encode(hashlib.sha512(os.urandom(32)).digest() * 4).decode()
    return f"PVEVNC:{int(time.time()):08X}::{secret}"


def _wait(log: Log) -> None:
    """Nobody can connect to a machine without a process: the proxy gives up as an unused one does."""
    if not log.task.stop.wait(PATIENCE):
        raise TaskError("connection timed out")
    raise TaskError("received interrupt")


def _proxy(call: Call) -> dict[str, Any]:
    call.pve.conf(call.vmid, kind_of(call))
    upid = call.start("vncproxy", call.vmid, _wait)
    return {"user": call.user, "ticket": _ticket(call), "port": FIRST_PORT, "upid": upid}


@route("POST", "/nodes/{node}/lxc/{vmid}/vncproxy")
@route("POST", "/nodes/{node}/qemu/{vmid}/vncproxy")
def vnc(call: Call) -> dict[str, Any]:
    """Opens a VNC proxy: port, ticket, and a password where the protocol asks for one."""
    found = _proxy(call)
    found["cert"] = (call.pve.state / "pve-ssl.pem").read_text()
    if call.flag("websocket") or kind_of(call) == "qemu":
        found["password"] = base64.b64encode(os.urandom(6)).decode()
        found["ticket"] = f"{found['password']}:{found['ticket']}"
    return found


@route("POST", "/nodes/{node}/lxc/{vmid}/termproxy")
@route("POST", "/nodes/{node}/qemu/{vmid}/termproxy")
def terminal(call: Call) -> dict[str, Any]:
    """Opens a terminal proxy."""
    return _proxy(call)


@route("GET", "/nodes/{node}/lxc/{vmid}/vncwebsocket")
@route("GET", "/nodes/{node}/qemu/{vmid}/vncwebsocket")
def websocket(call: Call) -> dict[str, Any]:
    """Refuses: no proxy here ever gave a ticket that a socket could be opened with."""
    raise ApiError(401, "permission denied - invalid PVEVNC ticket\n")


@route("POST", "/nodes/{node}/lxc/{vmid}/spiceproxy")
@route("POST", "/nodes/{node}/qemu/{vmid}/spiceproxy")
def spice(call: Call) -> dict[str, Any]:
    """Refuses: a guest that does not run has no display, and none of these has a SPICE port."""
    kind = kind_of(call)
    call.pve.conf(call.vmid, kind)
    if not call.pve.running(call.vmid):
        raise failure(f"{'CT' if kind == 'lxc' else 'VM'} {call.vmid} not running")
    raise failure("no spice port")


@route("GET", "/nodes/{node}/lxc/{vmid}/rrddata")
@route("GET", "/nodes/{node}/qemu/{vmid}/rrddata")
def statistics(call: Call) -> list[dict[str, Any]]:
    """The times of a time frame; no statistics are collected, so they hold nothing else."""
    _check_statistics(call)
    step, count = STEPS[str(call["timeframe"])]
    last = int(time.time()) // step * step
    return [{"time": last - step * n} for n in range(count, 1, -1)]


def _check_statistics(call: Call) -> None:
    if call.pve.guests.get(call.vmid) is None:
        file = f"/var/lib/rrdcached/db/pve-vm-9.0/{call.vmid}"
        raise failure(f"RRD error: opening '{file}': No such file or directory")


@route("GET", "/nodes/{node}/lxc/{vmid}/rrd")
@route("GET", "/nodes/{node}/qemu/{vmid}/rrd")
def graph(call: Call) -> dict[str, Any]:
    """Refuses: there are no statistics to draw."""
    file = f"/var/lib/rrdcached/db/pve-vm-9.0/{call.vmid}"
    raise failure(f"RRD error: opening '{file}': No such file or directory")
