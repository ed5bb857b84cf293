"""Pools."""

from __future__ import annotations

import re
from typing import Any

from ..errors import existing, failure, refuse_if
from ..permissions import may_modify
from ..registry import Call, route
from ..words import split_list
from .cluster import guest_entry, storage_entry


def _pools(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = call.pve.users.data["pools"]
    return found


@route("GET", "/pools")
def listing(call: Call) -> list[dict[str, Any]]:
    """The pools that the caller may see, or one with its members."""
    if call.has("poolid"):
        return [_whole(call, str(call["poolid"]))]
    return [
        _with_comment({"poolid": name}, entry)
        for name, entry in sorted(_pools(call).items())
        if call.allowed(f"/pool/{name}", "Pool.Audit")
    ]


def _with_comment(found: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    return {**found, "comment": entry["comment"]} if entry.get("comment") else found


def _whole(call: Call, name: str) -> dict[str, Any]:
    entry = existing(_pools(call).get(name), f"pool '{name}' does not exist")
    states, kind = call.pve.runtime.all(), call.get("type")
    members: list[dict[str, Any]] = []
    for vmid in sorted(entry["vms"]):
        conf = call.pve.guests.get(vmid)
        if conf and kind in (None, conf.kind):
            members.append(guest_entry(call, conf, states.get(vmid)))
    if kind in (None, "storage"):
        members += [storage_entry(call, sid) for sid in sorted(entry["storage"]) if sid in call.pve.storages.data]
    return _with_comment({"members": members, "poolid": name}, entry)


@route("GET", "/pools/{poolid}")
def get(call: Call) -> dict[str, Any]:
    """One pool with its members."""
    return _whole(call, str(call["poolid"]))


@route("POST", "/pools")
def create(call: Call) -> None:
    """Makes a pool."""
    name = str(call["poolid"])
    failed = "create pool failed: "
    with call.pve.users.lock:
        pools = _pools(call)
        refuse_if(name in pools, f"{failed}pool '{name}' already exists")
        parent, slash, leaf = name.rpartition("/")
        refuse_if(slash and parent not in pools, f"{failed}parent '{parent}' of pool '{name}' does not exist")
        refuse_if(not re.match(r"[A-Za-z]", leaf), f"{failed}pool name must start with a letter")
        pools[name] = {"vms": [], "storage": []}
        if call.has("comment"):
            pools[name]["comment"] = call["comment"]
        call.pve.users.save()


@route("PUT", "/pools/{poolid}")
@route("PUT", "/pools")
def update(call: Call) -> None:
    """Changes a pool's comment and members."""
    name = str(call["poolid"])
    failed = "update pools failed: "
    with call.pve.users.lock:
        entry = existing(_pools(call).get(name), f"{failed}pool '{name}' does not exist")
        fresh = {**entry, "vms": list(entry["vms"]), "storage": list(entry["storage"])}
        if call.has("comment"):
            fresh["comment"] = call["comment"]
        moves: list[tuple[str, int]] = []
        for item in split_list(str(call.get("vms", ""))):
            _change_guest(call, name, fresh, int(item), failed, moves)
        for sid in split_list(str(call.get("storage", ""))):
            _change_storage(call, fresh, sid, failed)
        for old, vmid in moves:
            _pools(call)[old]["vms"].remove(vmid)
        _pools(call)[name] = fresh
        call.pve.users.save()


def _change_guest(
    call: Call, name: str, entry: dict[str, Any], vmid: int, failed: str, moves: list[tuple[str, int]]
) -> None:
    may_modify(call, f"/vms/{vmid}")
    if call.flag("delete"):
        refuse_if(vmid not in entry["vms"], f"{failed}VM {vmid} is not a pool member")
        entry["vms"].remove(vmid)
        return
    refuse_if(vmid in entry["vms"], f"{failed}VM {vmid} is already a pool member")
    old = call.pve.users.pool_of(vmid)
    if old:
        if not call.flag("allow-move"):
            raise failure(f"{failed}VM {vmid} belongs already to pool '{old}' and 'allow-move' is not set")
        call.check(f"/pool/{old}", "Pool.Allocate")
        moves.append((old, vmid))
    entry["vms"].append(vmid)


def _change_storage(call: Call, entry: dict[str, Any], sid: str, failed: str) -> None:
    may_modify(call, f"/storage/{sid}")
    if call.flag("delete"):
        refuse_if(sid not in entry["storage"], f"{failed}Storage '{sid}' is not a pool member")
        entry["storage"].remove(sid)
        return
    refuse_if(sid in entry["storage"], f"{failed}Storage '{sid}' is already a pool member")
    entry["storage"].append(sid)


@route("DELETE", "/pools/{poolid}")
@route("DELETE", "/pools")
def delete(call: Call) -> None:
    """Removes an empty pool."""
    name = str(call["poolid"])
    failed = "delete pool failed: "
    with call.pve.users.lock:
        entry = existing(_pools(call).get(name), f"{failed}pool '{name}' does not exist")
        below = next((p for p in sorted(_pools(call)) if p.startswith(f"{name}/")), None)
        refuse_if(below, f"{failed}pool '{name}' is not empty (contains pool '{below}')")
        for vmid in sorted(entry["vms"]):
            refuse_if(call.pve.guests.get(vmid), f"{failed}pool '{name}' is not empty (contains VM {vmid})")
        for sid in sorted(entry["storage"]):
            refuse_if(sid in call.pve.storages.data, f"{failed}pool '{name}' is not empty (contains storage '{sid}')")
        del _pools(call)[name]
        call.pve.users.data["acl"].pop(f"/pool/{name}", None)
        call.pve.users.save()
