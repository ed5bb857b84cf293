"""Metric servers: definitions are kept, nothing is sent."""

from __future__ import annotations

from typing import Any

from ..errors import failure
from ..registry import Call, index, route
from ..sections import section, typed
from ..words import split_list

BASE = "/cluster/metrics"
ONE = BASE + "/server/{id}"
index(BASE, "name", "server")
TYPES = {
    "graphite": section("server", "disable mtu path port proto timeout"),
    "influxdb": section(
        "port server",
        "api-path-prefix bucket disable influxdbproto max-body-size mtu organization timeout token verify-certificate",
    ),
    "opentelemetry": section(
        "server",
        "disable otel-compression otel-headers otel-max-body-size otel-path otel-protocol otel-resource-attributes"
        " otel-timeout otel-verify-ssl port",
    ),
}


def _servers(call: Call) -> dict[str, dict[str, Any]]:
    return call.pve.table("metric_servers")


@route("GET", BASE + "/server")
def listing(call: Call) -> list[dict[str, Any]]:
    """All servers, with what matters most of each."""
    keys = ("server", "port", "type")
    return [
        {"id": name, **{k: entry[k] for k in keys if k in entry}, "disable": entry.get("disable", 0)}
        for name, entry in sorted(_servers(call).items())
    ]


@route("GET", ONE)
def get(call: Call) -> dict[str, Any]:
    """One server."""
    found = _servers(call).get(call["id"])
    if found is None:
        raise failure(f"status server entry '{call['id']}' does not exist")
    return {k: v for k, v in found.items() if k != "token"}


def _options(call: Call) -> dict[str, Any]:
    return {k: v for k, v in call.params.items() if k not in ("id", "type", "delete", "digest")}


@route("POST", ONE)
def create(call: Call) -> None:
    """Defines a server."""
    name, kind, new = str(call["id"]), str(call["type"]), _options(call)
    with call.pve.cluster.lock:
        if name in _servers(call):
            raise failure(f"Metric server '{name}' already exists")
        TYPES[kind].check(new, True)
        _servers(call)[name] = {"type": kind, **typed(f"POST {ONE}", new)}
        call.pve.cluster.save()


@route("PUT", ONE)
def update(call: Call) -> None:
    """Changes a server."""
    new, delete = _options(call), split_list(str(call.get("delete", "")))
    with call.pve.cluster.lock:
        entry = _servers(call).get(call["id"])
        if entry is None:
            raise failure(f"no such server '{call['id']}'")
        TYPES[entry["type"]].check(new, False)
        TYPES[entry["type"]].remove(delete, new)
        for key in delete:
            entry.pop(key, None)
        entry |= typed(f"POST {ONE}", new)
        call.pve.cluster.save()


@route("DELETE", ONE)
def delete(call: Call) -> None:
    """Removes a server."""
    with call.pve.cluster.lock:
        if _servers(call).pop(call["id"], None) is None:
            where = "/usr/share/perl5/PVE/API2/Cluster/MetricServer.pm line 295."
            raise failure(f"cannot lookup undefined type! at {where}")
        call.pve.cluster.save()
