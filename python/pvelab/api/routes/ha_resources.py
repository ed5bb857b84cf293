"""Guests under high availability (the lab has one node: nothing ever moves)."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from ..errors import ApiError, failure
from ..registry import Call, route
from ..sections import section, typed
from ..words import split_list

BASE = "/cluster/ha"
GONE = "ha groups have been migrated to rules"
OPTIONS = section("", "comment failback group max_relocate max_restart state")
WORD = {"ct": ("lxc", "container"), "vm": ("qemu", "VM")}

for _method, _path, _verb in (
    ("GET", "/groups", "index groups"),
    ("POST", "/groups", "create group"),
    ("GET", "/groups/{group}", "read group"),
    ("PUT", "/groups/{group}", "update group"),
    ("DELETE", "/groups/{group}", "delete group"),
):

    @route(_method, BASE + _path)
    def _gone(call: Call, verb: str = _verb) -> None:
        """Groups are no more."""
        raise failure(f"cannot {verb}: {GONE}")


def digest(table: dict[str, Any]) -> str:
    """The digest of a file of the HA stack."""
    return hashlib.sha1(json.dumps(table, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def resources(call: Call) -> dict[str, dict[str, Any]]:
    """All managed resources."""
    return call.pve.table("ha_resources")


def _sid(call: Call) -> str:
    """The resource id: ct:101 for 101."""
    text = str(call["sid"])
    if not text.isdigit():
        return text
    conf = call.pve.guests.get(int(text))
    if conf is None:
        raise failure(f"unable to detect SID from VMID - VM/CT {text} does not exist")
    return f"{'ct' if conf.kind == 'lxc' else 'vm'}:{text}"


def _shown(call: Call, sid: str) -> dict[str, Any]:
    table = resources(call)
    return {**table[sid], "sid": sid, "type": sid.partition(":")[0], "digest": digest(table)}


@route("GET", BASE + "/resources")
def listing(call: Call) -> list[dict[str, Any]]:
    """All managed resources, or those of one type."""
    found = [_shown(call, sid) for sid in sorted(resources(call))]
    return [item for item in found if call.get("type") in (None, item["type"])]


def _options(call: Call) -> dict[str, Any]:
    new = {k: v for k, v in call.params.items() if k not in ("sid", "type", "digest", "delete")}
    return typed(f"POST {BASE}/resources", new)


def _check_type(call: Call, kind: str) -> None:
    if call.has("type") and call["type"] != kind:
        raise failure("types does not match")
    if call.has("group"):
        raise failure(f"invalid parameter 'group': {GONE}")


@route("POST", BASE + "/resources")
def create(call: Call) -> None:
    """Puts a guest under management."""
    sid = _sid(call)
    kind, _, vmid = sid.partition(":")
    _check_type(call, kind)
    if kind not in WORD:
        raise failure(f"unknown section type '{kind}'")
    if not re.fullmatch(r"[1-9][0-9]+", vmid):
        raise failure("invalid VMID")
    found = call.pve.guests.get(int(vmid))
    if found is None:
        raise failure(f"resource '{sid}' does not exist in cluster")
    if found.kind != WORD[kind][0]:
        raise failure(f"resource '{sid}' - guest with ID {vmid} is not a {WORD[kind][1]}")
    with call.pve.cluster.lock:
        if sid in resources(call):
            raise failure(f"create resource failed: resource ID '{sid}' already defined")
        resources(call)[sid] = _options(call)
        call.pve.cluster.save()


@route("GET", BASE + "/resources/{sid}")
def get(call: Call) -> dict[str, Any]:
    """One managed resource."""
    sid = _sid(call)
    if sid not in resources(call):
        raise failure(f"no such resource '{sid}'")
    return _shown(call, sid)


@route("PUT", BASE + "/resources/{sid}")
def update(call: Call) -> None:
    """Changes how a resource is managed."""
    sid, failed = _sid(call), "update resources config failed: "
    _check_type(call, sid.partition(":")[0])
    with call.pve.cluster.lock:
        if call.has("digest") and call["digest"] != digest(resources(call)):
            raise failure(f"{failed}detected modified configuration - file changed by other user? Try again.")
        entry = resources(call).get(sid)
        if entry is None:
            raise failure(f"{failed}no such resource '{sid}'")
        new, delete = _options(call), split_list(str(call.get("delete", "")))
        try:
            OPTIONS.remove(delete, {})
        except ApiError as error:
            raise failure(f"{failed}{error.text}") from None
        entry |= new
        for key in delete:
            entry.pop(key, None)
        call.pve.cluster.save()


@route("DELETE", BASE + "/resources/{sid}")
def delete(call: Call) -> None:
    """Ends the management of a guest, by default also in the rules that name it."""
    sid = _sid(call)
    with call.pve.cluster.lock:
        if resources(call).pop(sid, None) is None:
            raise failure(f"cannot delete service '{sid}', not HA managed!")
        if call.flag("purge", default=True):
            _forget(call.pve.table("ha_rules"), sid)
        call.pve.cluster.save()


def _forget(rules: dict[str, dict[str, Any]], sid: str) -> None:
    for name, rule in list(rules.items()):
        left = [other for other in split_list(rule["resources"]) if other != sid]
        rule["resources"] = ",".join(left)
        if not left:
            del rules[name]


def _move(call: Call) -> dict[str, Any]:
    """Asks the manager to move a resource; there is none, and nowhere to go."""
    sid = _sid(call)
    if resources(call).get(sid, {"state": "ignored"}).get("state") == "ignored":
        raise failure(f"resource '{sid}' is not HA managed")
    return {"sid": sid, "requested-node": call["node"]}


route("POST", BASE + "/resources/{sid}/migrate")(_move)
route("POST", BASE + "/resources/{sid}/relocate")(_move)
