"""Where storages are on the node, and the files in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from . import backups, volumes
from .errors import failure
from .pve import Pve
from .registry import Call


def unmounted(config: dict[str, Any]) -> bool:
    """A directory that is expected to be a mount point: nothing is mounted in the lab."""
    return str(config.get("is_mountpoint", "no")).lower() not in ("", "0", "no", "off", "false")


def activated(call: Call, sid: str) -> dict[str, Any]:
    """A storage that is used now: it must be enabled and there."""
    config = volumes.enabled_storage(call.pve, sid)
    if unmounted(config):
        text = f"directory is expected to be a mount point but is not mounted: '{config.get('path')}'"
        raise failure(f"unable to activate storage '{sid}' - {text}")
    return config


def files(call: Call, sid: str, kinds: set[str], vmid: str | None = None) -> list[dict[str, Any]]:
    """The files of some content types, as PVE lists them."""
    found = []
    for kind in kinds & set(volumes.FOLDERS):
        if vmid and kind in ("iso", "vztmpl"):
            continue
        path = volumes.root(call.pve, sid) / volumes.FOLDERS[kind]
        for file in sorted(path.iterdir()) if path.is_dir() else []:
            named = volumes.EXTENSIONS[kind].search(file.name)
            if not file.is_file() or not named or file.name.startswith("."):
                continue
            if vmid and kind == "backup" and not re.search(rf"\S-{vmid}-\S", file.name):
                continue
            found.append(_file_entry(call, sid, kind, file, named, vmid))
    return found


def _file_entry(call: Call, sid: str, kind: str, file: Path, named: re.Match[str], vmid: str | None) -> dict[str, Any]:
    volid, info = f"{sid}:{kind}/{file.name}", file.stat()
    entry: dict[str, Any] = {"volid": volid, "content": kind, "size": info.st_size, "ctime": int(info.st_mtime)}
    if kind == "vztmpl":
        entry["format"] = f"t{named[1]}" if named[1] else named[2]
    else:
        entry["format"] = {"iso": "iso", "snippets": "snippet"}.get(kind) or named[1]
    if kind == "backup":
        known = backups.archive_info(file.name)
        entry["subtype"] = known.type if known else "unknown"
        if known and known.ctime is not None:
            entry["ctime"] = known.ctime
        owner = vmid or backups.owner_of(file.name)
        if owner:
            entry["vmid"] = int(owner)
        noted = call.pve.cluster.data.get("volume_notes", {}).get(volid, {})
        if noted.get("notes"):
            entry["notes"] = str(noted["notes"]).split("\n")[0]
        if noted.get("protected"):
            entry["protected"] = 1
    return entry


def folder_path(config: dict[str, Any], sid: str, kind: str) -> str:
    """The directory of a content type on the node."""
    base = str(config.get("path", f"/mnt/pve/{sid}"))
    return f"{base}/{volumes.directories(config).get(kind) or volumes.FOLDERS.get(kind, 'images')}"


def shown_path(pve: Pve, volid: str) -> str:
    """The path a volume would have on the node."""
    sid, name = volumes.split(volid)
    config = volumes.storage(pve, sid)
    kind = volumes.named(pve, volid).kind
    if config["type"] == "zfspool":
        return f"/{config['pool']}/{name}" if name.startswith("subvol") else f"/dev/zvol/{config['pool']}/{name}"
    if config["type"] in ("lvm", "lvmthin"):
        return f"/dev/{config['vgname']}/{name}"
    below = "/".join(name.split("/")[-2:]) if kind == "images" else name.partition("/")[2]
    return f"{folder_path(config, sid, kind)}/{below}"
