"""Pools."""

from __future__ import annotations

import re
from typing import Any

from ..errors import existing, refuse_if
from ..permissions import may_modify
from ..registry import Call, route
from ..words import commented
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
        commented({"poolid": name}, entry)
        for name, entry in sorted(_pools(call).items())
        if call.allowed(f"/pool/{name}", "Pool.Audit")
    ]


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
    return commented({"members": members, "poolid": name}, entry)


@route("GET", "/pools/{poolid}")
def get(call: Call) -> dict[str, Any]:
    """One pool with its members."""
    return _whole(call, str(call["poolid"]))


@route("POST", "/pools")
def create(call: Call) -> None:
    """Makes a pool."""
    name, failed = str(call["poolid"]), "create pool failed: "
    with call.pve.users.changed():
        pools = _pools(call)
        refuse_if(name in pools, f"{failed}pool '{name}' already exists")
        parent, slash, leaf = name.rpartition("/")
        refuse_if(slash and parent not in pools, f"{failed}parent '{parent}' of pool '{name}' does not exist")
        refuse_if(not re.match(r"[A-Za-z]", leaf), f"{failed}pool name must start with a letter")
        comment = {"comment": call["comment"]} if call.has("comment") else {}
        pools[name] = {"vms": [], "storage": [], **comment}


@route("PUT", "/pools/{poolid}")
@route("PUT", "/pools")
def update(call: Call) -> None:
    """Changes a pool's comment and members."""
    name, failed = str(call["poolid"]), "update pools failed: "
    with call.pve.users.changed():
        entry = existing(_pools(call).get(name), f"{failed}pool '{name}' does not exist")
        fresh = {**entry, "vms": list(entry["vms"]), "storage": list(entry["storage"])}
        if call.has("comment"):
            fresh["comment"] = call["comment"]
        moves: list[tuple[str, int]] = []
        for vmid in map(int, call.words("vms")):
            may_modify(call, f"/vms/{vmid}")
            _change(call, fresh["vms"], vmid, f"{failed}VM {vmid}")
            old = None if call.flag("delete") else call.pve.users.pool_of(vmid)
            if old:
                text = f"VM {vmid} belongs already to pool '{old}' and 'allow-move' is not set"
                refuse_if(not call.flag("allow-move"), f"{failed}{text}")
                call.check(f"/pool/{old}", "Pool.Allocate")
                moves.append((old, vmid))
        for sid in call.words("storage"):
            may_modify(call, f"/storage/{sid}")
            _change(call, fresh["storage"], sid, f"{failed}Storage '{sid}'")
        for old, vmid in moves:
            _pools(call)[old]["vms"].remove(vmid)
        _pools(call)[name] = fresh


def _change(call: Call, members: list[Any], member: Any, what: str) -> None:
    if call.flag("delete"):
        refuse_if(member not in members, f"{what} is not a pool member")
        members.remove(member)
    else:
        refuse_if(member in members, f"{what} is already a pool member")
        members.append(member)


@route("DELETE", "/pools/{poolid}")
@route("DELETE", "/pools")
def delete(call: Call) -> None:
    """Removes an empty pool."""
    name, failed = str(call["poolid"]), "delete pool failed: "
    with call.pve.users.changed() as data:
        pools = _pools(call)
        entry = existing(pools.get(name), f"{failed}pool '{name}' does not exist")
        left = [f"pool '{below}'" for below in sorted(pools) if below.startswith(f"{name}/")]
        left += [f"VM {vmid}" for vmid in sorted(entry["vms"]) if call.pve.guests.get(vmid)]
        left += [f"storage '{sid}'" for sid in sorted(entry["storage"]) if sid in call.pve.storages.data]
        refuse_if(left, f"{failed}pool '{name}' is not empty (contains {''.join(left[:1])})")
        del pools[name]
        data["acl"].pop(f"/pool/{name}", None)
