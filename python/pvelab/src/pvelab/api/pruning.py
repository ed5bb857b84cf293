"""Pruning: which backups a retention setting keeps, group by group as PVE counts them, and which are protected."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from . import backups, volumes
from .errors import failure
from .registry import Call
from .storage_paths import files

PERIODS: dict[str, Callable[[int], str]] = {
    "keep-last": str,
    "keep-hourly": lambda t: time.strftime("%Y/%j/%H", time.localtime(t)),
    "keep-daily": lambda t: time.strftime("%Y/%j", time.localtime(t)),
    "keep-weekly": lambda t: time.strftime("%G/%V", time.localtime(t)),
    "keep-monthly": lambda t: time.strftime("%Y/%m", time.localtime(t)),
    "keep-yearly": lambda t: time.strftime("%Y", time.localtime(t)),
}


def _mark(group: list[dict[str, Any]], keep: dict[str, Any]) -> None:
    """Sets `mark` of every backup of a guest to keep or remove; what is protected stays so."""
    counts = {name: int(keep.get(name) or 0) for name in PERIODS}
    if int(keep.get("keep-all") or 0) or not any(counts.values()):
        for entry in group:
            entry.setdefault("mark", "keep")
        return
    newest = sorted(group, key=lambda entry: -int(entry["ctime"]))
    for name, period in PERIODS.items():
        if counts[name]:
            _mark_period(newest, counts[name], period)
    for entry in newest:
        entry.setdefault("mark", "remove")


def _mark_period(newest: list[dict[str, Any]], count: int, period: Callable[[int], str]) -> None:
    kept = {period(int(entry["ctime"])) for entry in newest if entry.get("mark") == "keep"}
    fresh: set[str] = set()
    for entry in newest:
        key = period(int(entry["ctime"]))
        if "mark" in entry or key in kept:
            continue
        if key in fresh:
            entry["mark"] = "remove"
            continue
        if len(fresh) >= count:
            break
        fresh.add(key)
        entry["mark"] = "keep"


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
        _mark(group, keep)
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


def check_protected(call: Call, volid: str, vmid: int | None) -> None:
    """Raises when a guest has as many protected backups as its storage allows."""
    sid, name = volumes.split(volid)
    limit = volumes.storage(call.pve, sid).get("max-protected-backups")
    if limit is None:
        limit = -1 if call.allowed(f"/storage/{sid}", "Datastore.Allocate") else 5
    noted = call.pve.cluster.data.get("volume_notes", {})
    if vmid is None or int(limit) < 0 or noted.get(volid, {}).get("protected"):
        return
    kind = name.split("-")[1]
    mine = [e for e in files(call, sid, {"backup"}, str(vmid)) if e.get("protected") and e["subtype"] == kind]
    if len(mine) >= int(limit):
        raise failure(f"The number of protected backups per guest is limited to {limit} on storage '{sid}'")
