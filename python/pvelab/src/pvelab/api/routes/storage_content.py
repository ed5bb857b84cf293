"""Storages of the node and what is in them."""

from __future__ import annotations

import re
from typing import Any

from .. import volumes
from ..errors import ApiError, bad, refuse_if
from ..registry import Call, route
from ..storage_paths import activated, files, unmounted
from ..volume_features import FORMATS
from ..words import truth

BASE = "/nodes/{node}/storage"
ONE = BASE + "/{storage}"
CONTENT = ONE + "/content"
READABLE = ("Datastore.Audit", "Datastore.AllocateSpace")


def _status(call: Call, sid: str, config: dict[str, Any]) -> dict[str, Any]:
    enabled = volumes.is_enabled(config, call.pve.node.name)
    active = enabled and not unmounted(config)
    total, used = (volumes.total(call.pve, sid), volumes.used(call.pve, sid)) if active else (0, 0)
    return {
        "type": config["type"], "total": total, "used": used, "avail": max(total - used, 0),
        "shared": int(truth(config.get("shared"))), "content": ",".join(sorted(volumes.contents(config))),
        "active": int(active), "enabled": int(enabled),
    }  # fmt: skip


@route("GET", BASE)
def listing(call: Call) -> list[dict[str, Any]]:
    """All storages that the caller may see, with their figures."""
    wanted = set(call.words("content"))
    found = {}
    for sid, config in sorted(call.pve.storages.data.items()):
        if not wanted or (wanted & volumes.contents(config) and volumes.is_enabled(config, call.pve.node.name)):
            found[sid] = config
    refuse_if(call.has("storage") and call["storage"] not in found, bad(storage="No such storage."))
    return [_entry(call, sid, config) for sid, config in found.items() if _listed(call, sid, config)]


def _listed(call: Call, sid: str, config: dict[str, Any]) -> bool:
    if not call.allowed(f"/storage/{sid}", *READABLE, any_of=True):
        return False
    if (call.has("storage") and call["storage"] != sid) or (call.flag("enabled") and truth(config.get("disable"))):
        return False
    target = call.get("target")
    if target in (None, call.pve.node.name, "localhost"):
        return True
    return (
        truth(config.get("shared"))
        and volumes.is_enabled(config, call.pve.node.name)
        and volumes.is_enabled(config, str(target))
    )


def _entry(call: Call, sid: str, config: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"storage": sid, **_status(call, sid, config)}
    if entry["total"]:
        entry["used_fraction"] = entry["used"] / entry["total"]
    if call.flag("format") and entry["enabled"]:
        supported = sorted(FORMATS.get(config["type"], ("raw",)))
        default = str(config.get("format") or "raw")
        entry["formats"] = {"supported": supported, "default": default}
        entry["format"] = [dict.fromkeys(supported, 1), default]
        if config["type"] in ("iscsi", "iscsidirect", "esxi"):
            entry["select_existing"] = 1
    return entry


@route("GET", ONE + "/status")
def status(call: Call) -> dict[str, Any]:
    """The figures of one storage."""
    sid = str(call["storage"])
    refuse_if(sid not in call.pve.storages.data, bad(storage="No such storage."))
    return _status(call, sid, call.pve.storages.data[sid])


def _disks(call: Call, sid: str, kinds: set[str], vmid: str | None) -> list[dict[str, Any]]:
    found = []
    for volid, known in call.pve.volumes.data.copy().items():
        owner = known["vmid"]
        if not volid.startswith(f"{sid}:") or (vmid and str(owner) != vmid):
            continue
        guest = call.pve.guests.get(int(owner))
        kind = "rootdir" if guest and guest.kind == "lxc" else "images"
        if kind not in kinds:
            continue
        size = 0 if known["format"] == "subvol" and ":subvol-" not in volid else int(known["size"])
        entry = {"volid": volid, "format": known["format"], "size": size, "vmid": int(owner), "content": kind}
        entry["ctime"] = known["ctime"]
        if call.pve.storages.data[sid]["type"] in volumes.FILE_BASED:
            entry |= {"used": size, "parent": _parent(volid)}
        found.append(entry)
    return found


def _parent(volid: str) -> str | None:
    """What the image of a linked clone says of its base."""
    found = re.fullmatch(r"[^:]+:(\d+/base-[^/]+)/\d+/[^/]+", volid)
    return f"../{found[1]}" if found else None


@route("GET", CONTENT)
def content(call: Call) -> list[dict[str, Any]]:
    """The volumes of a storage that the caller may use."""
    sid, vmid = str(call["storage"]), str(call["vmid"]) if call.has("vmid") else None
    allowed = volumes.contents(volumes.storage(call.pve, sid))
    config = activated(call, sid)
    kinds = {str(call["content"])} & allowed if call.has("content") else allowed
    found = _disks(call, sid, kinds, vmid)
    if config["type"] in volumes.FILE_BASED:
        found += files(call, sid, kinds, vmid)
    return [entry for entry in sorted(found, key=lambda e: e["volid"].lower()) if _usable(call, entry["volid"])]


def _usable(call: Call, volid: str) -> bool:
    try:
        volumes.check_access(call, None, volid)
    except ApiError:
        return False
    return True
