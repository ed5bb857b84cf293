"""High availability: resources, rules, status (the lab has one node: nothing ever moves)."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from ..errors import ApiError, bad_field, failure
from ..registry import Call, index, route
from ..words import split_list

BASE = "/cluster/ha"
index(BASE, "id", "status", "resources", "groups", "rules")
index(BASE + "/status", "name", "current", "manager_status", "disarm-ha", "arm-ha")
GONE = "ha groups have been migrated to rules"
RULE_FIELDS = {
    "node-affinity": ({"resources", "nodes"}, {"strict", "comment", "disable"}),
    "resource-affinity": ({"resources", "affinity"}, {"comment", "disable"}),
}


def _digest(table: dict[str, Any]) -> str:
    return hashlib.sha1(json.dumps(table, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


for _method, _path, _verb in (
    ("GET", "/groups", "index groups"),
    ("POST", "/groups", "create group"),
    ("GET", "/groups/{group}", "read group"),
    ("PUT", "/groups/{group}", "update group"),
    ("DELETE", "/groups/{group}", "delete group"),
):

    @route(_method, BASE + _path)
    def _gone(call: Call, verb: str = _verb) -> None:
        raise failure(f"cannot {verb}: {GONE}")


# --- resources


def _sid(call: Call) -> str:
    """The resource id: ct:101 for 101."""
    text = str(call["sid"])
    if not text.isdigit():
        return text
    conf = call.pve.guests.get(int(text))
    if conf is None:
        raise failure(f"unable to find service '{text}' on cluster")
    return f"{'ct' if conf.kind == 'lxc' else 'vm'}:{text}"


def _shown(call: Call, sid: str) -> dict[str, Any]:
    table = call.pve.table("ha_resources")
    return {**table[sid], "sid": sid, "type": sid.partition(":")[0], "digest": _digest(table)}


@route("GET", BASE + "/resources")
def resources(call: Call) -> list[dict[str, Any]]:
    found = [_shown(call, sid) for sid in sorted(call.pve.table("ha_resources"))]
    return [item for item in found if call.get("type") in (None, item["type"])]


def _checked(call: Call) -> dict[str, Any]:
    if call.has("group"):
        raise failure(f"invalid parameter 'group': {GONE}")
    numbers = ("max_relocate", "max_restart", "failback")
    names = ("comment", "state", *numbers)
    return {n: int(call[n]) if n in numbers else call[n] for n in names if call.has(n)}


@route("POST", BASE + "/resources")
def create_resource(call: Call) -> None:
    sid = _sid(call)
    kind, _, vmid = sid.partition(":")
    if call.has("type") and call["type"] != kind:
        raise failure("types does not match")
    found = call.pve.guests.get(int(vmid)) if vmid.isdigit() else None
    if found is None:
        raise failure(f"resource '{sid}' does not exist in cluster")
    if (found.kind == "lxc") != (kind == "ct"):
        raise failure(f"resource '{sid}' - guest with ID {vmid} is not a {'container' if kind == 'ct' else 'VM'}")
    with call.pve.cluster.lock:
        table = call.pve.table("ha_resources")
        if sid in table:
            raise failure(f"create resource failed: resource ID '{sid}' already defined")
        table[sid] = {"state": "started", **_checked(call)}
        call.pve.cluster.save()


def _resource(call: Call) -> str:
    sid = _sid(call)
    if sid not in call.pve.table("ha_resources"):
        raise failure(f"no such resource '{sid}'")
    return sid


@route("GET", BASE + "/resources/{sid}")
def get_resource(call: Call) -> dict[str, Any]:
    return _shown(call, _resource(call))


@route("PUT", BASE + "/resources/{sid}")
def update_resource(call: Call) -> None:
    sid = _resource(call)
    with call.pve.cluster.lock:
        entry = call.pve.table("ha_resources")[sid]
        for key in split_list(str(call.get("delete", ""))):
            entry.pop(key, None)
        entry |= _checked(call)
        call.pve.cluster.save()


@route("DELETE", BASE + "/resources/{sid}")
def delete_resource(call: Call) -> None:
    sid = _sid(call)
    with call.pve.cluster.lock:
        if call.pve.table("ha_resources").pop(sid, None) is None:
            raise failure(f"cannot delete service '{sid}', not HA managed!")
        call.pve.cluster.save()


# --- rules


@route("GET", BASE + "/rules")
def rules(call: Call) -> list[dict[str, Any]]:
    table = call.pve.table("ha_rules")
    found = sorted(((entry["order"], name) for name, entry in table.items()))
    shown = [_rule(call, name) for _, name in found]
    wanted = call.get("resource")
    return [
        rule
        for rule in shown
        if call.get("type") in (None, rule["type"]) and (not wanted or wanted in rule["resources"].split(","))
    ]


def _rule(call: Call, name: str) -> dict[str, Any]:
    table = call.pve.table("ha_rules")
    if name not in table:
        raise failure(f"no such ha rule '{name}'")
    return {**table[name], "rule": name, "digest": _digest(table)}


@route("GET", BASE + "/rules/{rule}")
def get_rule(call: Call) -> dict[str, Any]:
    return _rule(call, str(call["rule"]))


def _check_fields(kind: str, values: dict[str, Any], create: bool) -> dict[str, Any]:
    required, optional = RULE_FIELDS[kind]
    for key in values:
        if key not in required | optional:
            raise bad_field(
                key, "property is not defined in schema and the schema does not allow additional properties"
            )
    for key in sorted(required) if create else ():
        if key not in values:
            raise failure(f"missing value for required option '{key}'")
    return {k: int(v) if k in ("strict", "disable") else v for k, v in values.items() if (k, v) != ("disable", "0")}


def _check_resources(call: Call, text: str, prefix: str) -> None:
    managed = call.pve.table("ha_resources")
    unknown = sorted(sid for sid in split_list(text) if sid not in managed)
    if unknown:
        raise failure(f"{prefix}cannot use unmanaged resource(s) {', '.join(unknown)}.")


@route("POST", BASE + "/rules")
def create_rule(call: Call) -> None:
    values = dict(call.params)
    kind, name = str(values.pop("type", "")), str(values.pop("rule", ""))
    missing = {n: "property is missing and it is not optional" for n, v in (("type", kind), ("rule", name)) if not v}
    if missing:
        raise ApiError(400, "Parameter verification failed.\n", missing)
    if kind not in RULE_FIELDS:
        text = f"value '{kind}' does not have a value in the enumeration '{', '.join(sorted(RULE_FIELDS))}'"
        raise bad_field("type", text)
    fresh = _check_fields(kind, values, True)
    with call.pve.cluster.lock:
        table = call.pve.table("ha_rules")
        if name in table:
            raise failure(f"create ha rule failed: HA rule '{name}' already defined")
        _check_resources(call, str(fresh["resources"]), "create ha rule failed: ")
        table[name] = {"type": kind, "order": 1 + max([e["order"] for e in table.values()], default=0), **fresh}
        call.pve.cluster.save()


@route("PUT", BASE + "/rules/{rule}")
def update_rule(call: Call) -> None:
    values = {k: v for k, v in call.params.items() if k not in ("rule", "digest", "delete", "type")}
    failed = "update HA rules failed: "
    with call.pve.cluster.lock:
        entry = call.pve.table("ha_rules").get(call["rule"])
        if entry is None:
            raise failure(f"{failed}HA rule '{call['rule']}' does not exist")
        fresh = _check_fields(entry["type"], values, False)
        if "resources" in fresh:
            _check_resources(call, str(fresh["resources"]), failed)
        for key in split_list(str(call.get("delete", ""))):
            entry.pop(key, None)
        entry |= fresh
        call.pve.cluster.save()


@route("DELETE", BASE + "/rules/{rule}")
def delete_rule(call: Call) -> None:
    with call.pve.cluster.lock:
        call.pve.table("ha_rules").pop(str(call["rule"]), None)
        call.pve.cluster.save()


@route("GET", BASE + "/status/current")
def current(call: Call) -> list[dict[str, Any]]:
    node = call.pve.node.name
    found: list[dict[str, Any]] = [{"id": "quorum", "type": "quorum", "node": node, "quorate": 1, "status": "OK"}]
    for sid, entry in sorted(call.pve.table("ha_resources").items()):
        state = entry["state"]
        item = {"id": f"service:{sid}", "type": "service", "sid": sid, "node": node, "state": state}
        found.append({**item, "request_state": state, "status": f"{sid} ({node}, {state})", "crm_state": state})
    return found


@route("GET", BASE + "/status/manager_status")
def manager_status(call: Call) -> dict[str, Any]:
    node = call.pve.node.name
    manager = {
        "master_node": node,
        "node_status": {node: "online"},
        "service_status": {},
        "timestamp": int(time.time()),
    }
    return {"manager_status": manager, "lrm_status": {node: {}}, "quorum": {"node": node, "quorate": "1"}}
