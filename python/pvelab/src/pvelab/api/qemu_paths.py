"""Drives that are named by a path of the node instead of by a volume id."""

from __future__ import annotations

import re
from typing import Any

from . import volumes
from .errors import bad_field, existing, refuse_if
from .registry import Call
from .storage_paths import folder_path

Fields = dict[str, Any]
WANTED = {"disk": "images", "cdrom": "iso"}  # content type by `media`


def associate(call: Call, key: str, fields: Fields) -> None:
    """Names a drive's path by the volume that it is; devices stay paths."""
    file = str(fields["file"])
    if not file.startswith("/") or re.match(r"/dev/.|[^:]+:.", file):
        return
    found = existing(_volume_of(call, file), bad_field(key, f"unable to associate path '{file}' to any storage"))
    kind, fields["file"] = found
    if kind == "iso":
        fields.setdefault("media", "cdrom")
    wanted = WANTED.get(str(fields.get("media")), kind)
    refuse_if(kind != wanted, bad_field(key, f"unexpected media type ({kind} != {wanted})"))


def _volume_of(call: Call, path: str) -> tuple[str, str] | None:
    """Content type and volume id of a path below a storage; of images only those that exist."""
    folder, _, name = path.rpartition("/")
    for sid, config in sorted(call.pve.storages.data.items()):
        if config["type"] not in volumes.FILE_BASED:
            continue
        base, _, owner = folder.rpartition("/")
        volid = f"{sid}:{owner}/{name}"
        if base == folder_path(config, sid, "images") and volid in call.pve.volumes.data:
            return "images", volid
        for kind in volumes.FOLDERS:
            if folder == folder_path(config, sid, kind) and volumes.EXTENSIONS[kind].search(f"/{name}"):
                return kind, f"{sid}:{kind}/{name}"
    return None
