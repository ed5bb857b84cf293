"""Pruning of backups: what would go, and a task that removes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import backups, retention, volumes
from ..errors import failure, refuse_if
from ..registry import Call, route
from ..schema import split_property_string
from ..storage_paths import activated, files
from ..surface import named_format
from ..tasks import Log
from .storage_content import ONE

PATH = ONE + "/prunebackups"


def options(text: str) -> dict[str, Any]:
    """The fields of a retention setting."""
    return split_property_string(named_format("prune-backups") or {}, text)


def marked(call: Call, sid: str, vmid: str | None, kind: str | None, keep: dict[str, Any]) -> list[dict[str, Any]]:
    """The backups of a storage with what a retention setting would do to each."""
    found: list[dict[str, Any]] = []
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for item in sorted(files(call, sid, {"backup"}, vmid), key=lambda entry: str(entry["volid"])):
        info = backups.archive_info(str(item["volid"]).partition("/")[2])
        if kind is not None and kind != (info.type if info else "unknown"):
            continue
        entry = {"ctime": item["ctime"], "type": info.type if info else "unknown", "volid": item["volid"]}
        owner = (info.vmid if info else None) or item.get("vmid")
        if owner is not None:
            entry["vmid"] = int(owner)
        if info and info.vmid is not None:
            groups.setdefault((info.type, info.vmid), []).append(entry)
        else:
            entry["mark"] = "renamed"
        if item.get("protected"):
            entry["mark"] = "protected"
        found.append(entry)
    for group in groups.values():
        retention.mark(group, keep)
    return found


def prune(
    call: Call, sid: str, vmid: str | None, kind: str | None, keep: dict[str, Any], say: Callable[[str], None]
) -> int:
    """Removes the backups that a retention setting does not keep; returns how many."""
    gone = [entry for entry in marked(call, sid, vmid, kind, keep) if entry["mark"] == "remove"]
    for entry in gone:
        say(f"removing backup '{entry['volid']}'")
        backups.remove(call.pve, entry["volid"], volumes.file_path(call.pve, entry["volid"]))
    return len(gone)


def _keep(call: Call, sid: str) -> dict[str, Any]:
    config = volumes.storage(call.pve, sid)
    refuse_if("backup" not in volumes.contents(config), f"storage '{sid}' does not support backups")
    text = call.get("prune-backups", config.get("prune-backups"))
    if text is None:
        raise failure(f"no prune-backups options configured for storage '{sid}'")
    activated(call, sid)
    return text if isinstance(text, dict) else options(str(text))


def _scope(call: Call) -> tuple[str, str | None, str | None]:
    vmid = str(call["vmid"]) if call.has("vmid") else None
    return str(call["storage"]), vmid, str(call["type"]) if call.has("type") else None


@route("GET", PATH)
def preview(call: Call) -> list[dict[str, Any]]:
    """What pruning would do to each backup."""
    sid, vmid, kind = _scope(call)
    return marked(call, sid, vmid, kind, _keep(call, sid))


@route("DELETE", PATH)
def delete(call: Call) -> str:
    """Prunes in a task."""
    sid, vmid, kind = _scope(call)
    if vmid is not None:
        call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
        call.check(f"/vms/{vmid}", "VM.Backup")
    else:
        call.check(f"/storage/{sid}", "Datastore.Allocate")

    def work(log: Log) -> None:
        prune(call, sid, vmid, kind, _keep(call, sid), log)

    return call.start("prunebackups", f"{vmid}@{sid}" if vmid else sid, work)
