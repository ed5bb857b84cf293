"""Single volumes: made, looked at, noted, removed."""

from __future__ import annotations

import re
from typing import Any

from .. import backups, volumes
from ..errors import ApiError, bad, bad_field, failure, refuse_if
from ..pruning import check_protected
from ..registry import Call, route
from ..storage_paths import activated, shown_path
from ..tasks import Log
from .storage_content import CONTENT

VOLUME = CONTENT + "/{volume}"


@route("POST", CONTENT)
def allocate(call: Call) -> str:
    """Makes a disk image of a given name."""
    sid, vmid, name, text = str(call["storage"]), int(call["vmid"]), str(call["filename"]), str(call["size"])
    size = int(text[:-1]) * {"M": 1 << 20, "G": 1 << 30}[text[-1]] if text[-1] in "MG" else int(text) << 10
    found = re.search(r"\.(raw|qcow2|vmdk)$", name)
    if found and call.has("format") and call["format"] != found[1]:
        raise bad(format=f"different storage formats ({call['format']} != {found[1]})")
    config = volumes.storage(call.pve, sid)
    kind = str(found[1] if found else call.get("format") or config.get("format") or "raw")
    config = activated(call, sid)
    if config["type"] in volumes.FILE_BASED:
        volid = _new_image(call, sid, vmid, name, kind, size)
    else:
        volid = f"{sid}:{name}"
        refuse_if(not re.match(rf"(vm|subvol)-{vmid}-", name), f"illegal name '{name}' - should be 'vm-{vmid}-*'")
        if volid in call.pve.volumes.data:
            raise failure(f'  Logical Volume "{name}" already exists in volume group "{config.get("vgname", sid)}"')
    volumes.keep(call.pve, volid, size, vmid, kind, "images")
    return volid


def _new_image(call: Call, sid: str, vmid: int, name: str, kind: str, size: int) -> str:
    suffix = volumes.image_format(name)
    refuse_if(suffix != kind, f"illegal name '{name}' - wrong extension for format ('{suffix} != '{kind}')")
    volid = f"{sid}:{vmid}/{name}"
    if volid in call.pve.volumes.data:
        raise failure(f"disk image '{shown_path(call.pve, volid)}' already exists")
    refuse_if(kind == "subvol" and size, "storage does not support subvol quotas")
    if "storage-full" in call.faults:
        raise failure(f"unable to create image: qemu-img: {shown_path(call.pve, volid)}: No space left on device")
    return volid


def volume_of(call: Call, text: str) -> str:
    """The volume id that a parameter names, with or without its storage."""
    sid = str(call["storage"])
    if ":" not in text:
        return f"{sid}:{text}"
    try:
        found = volumes.split(text)[0]
    except ApiError as error:
        raise bad_field("volume", error.message) from None
    refuse_if(found != sid, bad_field("volume", f"storage ID mismatch ({found} != {sid})\n"))
    return text


@route("GET", VOLUME)
def info(call: Call) -> dict[str, Any]:
    """Where a volume is and how large."""
    volid = volume_of(call, str(call["volume"]))
    volumes.check_access(call, None, volid)
    parsed = volumes.named(call.pve, volid)
    known = call.pve.volumes.data.get(volid)
    if known is None and not volumes.exists(call.pve, volid):
        raise failure(f"volume_size_info on '{volid}' failed - no format")
    kind = str(known["format"]) if known else parsed.format
    kind = kind if kind in ("raw", "qcow2", "vmdk", "subvol") else "raw"
    size = 0 if kind == "subvol" and parsed.kind == "images" and "/" in volid else volumes.size_of(call.pve, volid)
    refuse_if(not size and kind != "subvol", f"volume '{volid}' has size zero")
    found: dict[str, Any] = {"path": shown_path(call.pve, volid), "size": size, "used": size, "format": kind}
    if parsed.kind == "backup":
        noted = call.pve.cluster.data.get("volume_notes", {}).get(volid, {})
        found |= {"notes": noted.get("notes", ""), "protected": int(bool(noted.get("protected")))}
    return found


@route("PUT", VOLUME)
def update(call: Call) -> None:
    """Sets the notes of a backup and whether it is protected."""
    volid = volume_of(call, str(call["volume"]))
    volumes.check_access(call, None, volid)
    parsed = volumes.named(call.pve, volid)
    if call.has("notes") or "notes" in call.emptied:
        refuse_if(parsed.kind != "backup", "only backups can have notes")
        backups.note(call.pve, volid, notes=str(call.get("notes", "")))
    if call.has("protected") or "protected" in call.emptied:
        refuse_if(parsed.kind != "backup", "only backups support attribute 'protected'")
        if call.flag("protected"):
            check_protected(call, volid, parsed.owner)
        backups.note(call.pve, volid, protected=call.flag("protected"))


@route("DELETE", VOLUME)
def delete(call: Call) -> str | None:
    """Removes a volume in a task; with `delay` the answer waits for it."""
    volid = volume_of(call, str(call["volume"]))
    sid, parsed = volumes.split(volid)[0], volumes.named(call.pve, volid)
    if parsed.kind == "backup" and parsed.owner:
        call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
        call.check(f"/vms/{parsed.owner}", "VM.Backup")
    else:
        call.check(f"/storage/{sid}", "Datastore.Allocate")
    upid = call.start("imgdel", f"{parsed.owner}@{sid}" if parsed.owner else sid, lambda log: _remove(call, volid, log))
    if call.has("delay"):
        task = call.pve.tasks.all[upid]
        if task.done.wait(call.number("delay")):
            refuse_if(task.status != "OK" and not str(task.status).startswith("WARNINGS"), str(task.status))
            return None
    return upid


def _remove(call: Call, volid: str, log: Log) -> None:
    sid, name = volumes.split(volid)
    config = activated(call, sid)
    parsed = volumes.parse_name(config, name)
    if parsed.base and any(other.startswith(f"{volid}/") for other in call.pve.volumes.data):
        raise failure(f"base volume '{name}' is still in use by linked clones")
    if call.pve.cluster.data.get("volume_notes", {}).get(volid, {}).get("protected"):
        raise failure(f"cannot remove protected volume '{name}' on '{sid}'")
    if volid in call.pve.volumes.data:
        volumes.release(call.pve, volid)
    elif config["type"] in volumes.FILE_BASED:
        file = volumes.file_path(call.pve, volid)
        if file.is_file():
            backups.remove(call.pve, volid, file)
        else:
            log(f"disk image '{shown_path(call.pve, volid)}' does not exist")
    log(f"Removed volume '{volid}'")
