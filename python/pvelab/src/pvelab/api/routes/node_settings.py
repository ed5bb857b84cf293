"""Settings of the node as a fresh one has them, and what it says of itself in words."""

from __future__ import annotations

import time
from typing import Any

from ..digests import digest
from ..registry import Call, route

ONE = "/nodes/{node}"


@route("GET", ONE + "/time")
def clock(call: Call) -> dict[str, Any]:
    """The node's time: its zone is UTC."""
    now = int(time.time())
    return {"timezone": "UTC", "time": now, "localtime": now}


@route("GET", ONE + "/dns")
def dns(call: Call) -> dict[str, Any]:
    """The node's resolver and search domain."""
    return {"search": "home.arpa", "dns1": call.pve.node.gateway or "192.168.1.1"}


@route("GET", ONE + "/hosts")
def hosts(call: Call) -> dict[str, str]:
    """The text of /etc/hosts."""
    node = call.pve.node
    text = f"127.0.0.1 localhost.localdomain localhost\n{node.address} {node.name}.home.arpa {node.name}\n"
    return {"data": text, "digest": digest(text)}


def _lines(call: Call) -> list[str]:
    """A journal of the node: its tasks, which is all that happens on it."""
    said = [(int(call.pve.started), "starting server")]
    said += [(t.starttime, f"<{t.user}> starting task {t.upid}") for t in call.pve.tasks.all.copy().values()]
    node = call.pve.node.name
    return [f"{time.strftime('%b %d %H:%M:%S', time.gmtime(t))} {node} pvedaemon[1000]: {text}" for t, text in said]


@route("GET", ONE + "/syslog")
def syslog(call: Call) -> list[dict[str, Any]]:
    """Lines of the journal."""
    lines = _lines(call)
    call.attributes["total"] = len(lines)
    start, limit = call.number("start"), call.number("limit") or 50
    return [{"n": start + n, "t": text} for n, text in enumerate(lines[start : start + limit], 1)]


@route("GET", ONE + "/journal")
def journal(call: Call) -> list[str]:
    """Lines of the journal between two cursors."""
    lines = _lines(call)[-call.number("lastentries", 1 << 30) :]
    cursor = "s=lab;i={:x};b=lab;m=0;t=0;x=0"
    return [cursor.format(1), *lines, cursor.format(len(lines))]
