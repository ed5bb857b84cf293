"""Hardware mappings: names for PCI and USB devices and directories that guests may use."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..errors import failure
from ..registry import Call, index, route
from ..words import split_list

BASE = "/cluster/mapping"
index(BASE, "name", "dir", "pci", "usb")
KINDS = {"pci": "hardware", "usb": "hardware", "dir": "directory"}
WORD = {"pci": "pci ID", "usb": "usb ID", "dir": "dir ID"}
RIGHTS = ("Mapping.Modify", "Mapping.Use", "Mapping.Audit")


def _table(call: Call, kind: str) -> dict[str, Any]:
    return call.pve.table(f"mapping_{kind}")


def _digest(table: dict[str, Any]) -> str:
    return hashlib.sha1(json.dumps(table, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def listing(call: Call, kind: str) -> list[dict[str, Any]]:
    """The mappings that the caller may see."""
    table, found = _table(call, kind), []
    for name, entry in sorted(table.items()):
        if not call.allowed(f"/mapping/{kind}/{name}", *RIGHTS, any_of=True):
            continue
        shown = {**entry, "id": name, "digest": _digest(table)}
        if call.has("check-node"):
            shown["checks"] = []
        found.append(shown)
    return found


def get(call: Call, kind: str) -> dict[str, Any]:
    """One mapping."""
    table = _table(call, kind)
    entry = table.get(call["id"])
    if entry is None:
        raise failure(f"mapping '{call['id']}' not found")
    return {**entry, "digest": _digest(table), "type": kind}


def _fields(call: Call) -> dict[str, Any]:
    skipped = ("id", "digest", "delete", "type", "node")
    numbers = ("mdev", "live-migration-capable")
    return {k: int(v) if k in numbers else v for k, v in call.params.items() if k not in skipped}


def create(call: Call, kind: str) -> None:
    """Makes a mapping."""
    name = str(call["id"])
    with call.pve.cluster.lock:
        table = _table(call, kind)
        if name in table:
            raise failure(f"create {KINDS[kind]} mapping failed: {WORD[kind]} '{name}' already defined")
        table[name] = _fields(call)
        call.pve.cluster.save()


def update(call: Call, kind: str) -> None:
    """Changes a mapping."""
    name, failed = str(call["id"]), f"update {KINDS[kind]} mapping failed: "
    with call.pve.cluster.lock:
        table = _table(call, kind)
        if call.has("digest") and call["digest"] != _digest(table):
            raise failure(f"{failed}detected modified configuration - file changed by other user? Try again.")
        if name not in table:
            raise failure(f"{failed}{WORD[kind]} '{name}' does not exist")
        if "map" not in call.params:
            raise failure(f"{failed}missing value for required option 'map'")
        for key in split_list(str(call.get("delete", ""))):
            table[name].pop(key, None)
        table[name] |= _fields(call)
        call.pve.cluster.save()


def delete(call: Call, kind: str) -> None:
    """Removes a mapping; one that is not there is fine."""
    with call.pve.cluster.lock:
        if _table(call, kind).pop(str(call["id"]), None) is not None:
            call.pve.cluster.save()


def _register(kind: str) -> None:
    base = f"{BASE}/{kind}"
    route("GET", base)(lambda call: listing(call, kind))
    route("POST", base)(lambda call: create(call, kind))
    route("GET", base + "/{id}")(lambda call: get(call, kind))
    route("PUT", base + "/{id}")(lambda call: update(call, kind))
    route("DELETE", base + "/{id}")(lambda call: delete(call, kind))


for _kind in KINDS:
    _register(_kind)
