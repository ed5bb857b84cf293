"""Hardware mappings: names for PCI and USB devices and directories that guests may use."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..digests import CHANGED, digest
from ..errors import ApiError, existing, failure, prefixed, refuse_if
from ..pci import check_mapping, of_node, parsed
from ..registry import Call, route
from ..sections import section, typed

BASE = "/cluster/mapping"
KINDS = {"pci": "hardware", "usb": "hardware", "dir": "directory"}
OPTIONS = section("map", "description mdev live-migration-capable")
USUAL = {"bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys",
         "tmp", "usr", "var"}  # fmt: skip
RIGHTS = ("Mapping.Modify", "Mapping.Use", "Mapping.Audit")


def _table(call: Call, kind: str) -> dict[str, Any]:
    return call.pve.table(f"mapping_{kind}")


def listing(call: Call, kind: str) -> list[dict[str, Any]]:
    """The mappings that the caller may see."""
    table, found = _table(call, kind), []
    for name, entry in sorted(table.items()):
        if not call.allowed(f"/mapping/{kind}/{name}", *RIGHTS, any_of=True):
            continue
        shown = {**entry, "id": name, "digest": digest(table), "type": kind}
        if call.has("check-node"):
            shown["errors" if kind == "usb" else "checks"] = _problems(call, kind, name, entry)
        found.append(shown)
    return found


def _problems(call: Call, kind: str, name: str, entry: dict[str, Any]) -> list[dict[str, str]]:
    """What is wrong with a mapping on this node."""
    mine = list(of_node(entry, call.pve.node.name))
    if not mine:
        return [{"severity": "warning", "message": f"No mapping for node {call['check-node']}."}]
    texts = [text for fields in mine if (text := _wrong(call, kind, name, fields))]
    return [{"severity": "error", "message": f"Invalid configuration: {text}\n"} for text in texts]


def _wrong(call: Call, kind: str, name: str, fields: dict[str, str]) -> str | None:
    if kind == "dir":
        return None if _is_folder(call, fields["path"]) else f"Path {fields['path']} does not exist"
    if kind == "usb":
        return f"usb device '{fields.get('path') or fields['id']}' not found"
    try:
        check_mapping(call.pve.devices, name, fields)
    except ApiError as error:
        return error.message
    return None


def _is_folder(call: Call, path: str) -> bool:
    """Whether the node has a directory: those of every Debian, and those that storages are on."""
    mine = {f"/{name}" for name in USUAL} | {"", "/var/lib/vz", "/mnt/pve"}
    return path.rstrip("/") in mine | {str(v["path"]) for v in call.pve.storages.data.values() if "path" in v}


def get(call: Call, kind: str) -> dict[str, Any]:
    """One mapping."""
    table = _table(call, kind)
    entry = existing(table.get(call["id"]), f"mapping '{call['id']}' not found")
    return {**entry, "digest": digest(table), "type": kind}


def _fields(call: Call) -> dict[str, Any]:
    return typed(f"POST {BASE}/pci", call.without("id", "digest", "delete", "type", "node"))


def _check_folders(call: Call, kind: str, failed: str) -> None:
    """A directory mapping names one directory of a node, and this node's must be there."""
    if kind != "dir":
        return
    maps = [parsed(text) for text in call.get("map", [])]
    for fields in maps:
        if fields["node"] == call.pve.node.name and not _is_folder(call, fields["path"]):
            raise failure(f"{failed}Path {fields['path']} does not exist")
    for node, count in Counter(fields["node"] for fields in maps).items():
        refuse_if(count > 1, f"{failed}Node '{node}' is specified {count} times.")


def create(call: Call, kind: str) -> None:
    """Makes a mapping."""
    name = str(call["id"])
    _check_folders(call, kind, "")
    with call.pve.changed(f"mapping_{kind}") as table:
        refuse_if(name in table, f"create {KINDS[kind]} mapping failed: {kind} ID '{name}' already defined")
        table[name] = _fields(call)


def update(call: Call, kind: str) -> None:
    """Changes a mapping."""
    name, failed = str(call["id"]), f"update {KINDS[kind]} mapping failed: "
    with call.pve.changed(f"mapping_{kind}") as table:
        call.check_digest(digest(table), f"{failed}{CHANGED}")
        refuse_if(name not in table, f"{failed}{kind} ID '{name}' does not exist")
        refuse_if("map" not in call.params, f"{failed}missing value for required option 'map'")
        _check_folders(call, kind, failed)
        delete, new = call.words("delete"), _fields(call)
        with prefixed(failed):
            OPTIONS.remove(delete, new)
        table[name] = {k: v for k, v in table[name].items() if k not in delete} | new


def delete(call: Call, kind: str) -> None:
    """Removes a mapping; one that is not there is fine."""
    with call.pve.changed(f"mapping_{kind}") as table:
        table.pop(str(call["id"]), None)


def _register(kind: str) -> None:
    base = f"{BASE}/{kind}"
    route("GET", base)(lambda call: listing(call, kind))
    route("POST", base)(lambda call: create(call, kind))
    route("GET", base + "/{id}")(lambda call: get(call, kind))
    route("PUT", base + "/{id}")(lambda call: update(call, kind))
    route("DELETE", base + "/{id}")(lambda call: delete(call, kind))


for _kind in KINDS:
    _register(_kind)
