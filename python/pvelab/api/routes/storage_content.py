"""Storages of the node and what is in them."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from .. import volumes
from ..errors import ApiError, TaskError, bad, bad_field, failure
from ..registry import Call, index, route
from ..tasks import Log
from ..words import split_list

BASE = "/nodes/{node}/storage"
ONE = BASE + "/{storage}"
CONTENT = ONE + "/content"
VOLUME = CONTENT + "/{volume}"
FORMATS = {"zfspool": (["raw", "subvol"], "raw"), "lvmthin": (["raw"], "raw"), "lvm": (["raw"], "raw")}
EXTENSIONS = {
    "iso": r"\.(iso|img)$",
    "vztmpl": r"\.tar\.(gz|xz|zst|bz2)$|\.tar$",
    "import": r"\.(ova|ovf|qcow2|raw|vmdk)$",
}


def _status(call: Call, sid: str, config: dict[str, Any]) -> dict[str, Any]:
    enabled = not int(config.get("disable", 0))
    total, used = (volumes.total(call.pve, sid), volumes.used(call.pve, sid)) if enabled else (0, 0)
    return {
        "type": config["type"],
        "total": total,
        "used": used,
        "avail": max(total - used, 0),
        "shared": int(config.get("shared", 0)),
        "content": ",".join(sorted(volumes.contents(config))),
        "active": int(enabled),
        "enabled": int(enabled),
    }


@route("GET", BASE)
def listing(call: Call) -> list[dict[str, Any]]:
    wanted = set(split_list(str(call.get("content", ""))))
    found = []
    for sid, config in sorted(call.pve.storages.data.items()):
        if not call.allowed(f"/storage/{sid}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True):
            continue
        if call.has("storage") and call["storage"] != sid:
            continue
        enabled = not int(config.get("disable", 0))
        if (wanted and not (wanted & volumes.contents(config) and enabled)) or (call.flag("enabled") and not enabled):
            continue
        entry = {"storage": sid, **_status(call, sid, config)}
        entry["used_fraction"] = entry["used"] / entry["total"] if entry["total"] else 0
        if call.flag("format"):
            supported, default = FORMATS.get(config["type"], (["qcow2", "raw", "subvol", "vmdk"], "raw"))
            entry["formats"] = {"supported": supported, "default": default}
            entry["format"] = [dict.fromkeys(supported, 1), default]
        found.append(entry)
    return found


index(
    ONE, "subdir", "content", "download-url", "file-restore", "import-metadata", "prunebackups", "rrd", "rrddata",
    "status", "upload",
)  # fmt: skip


@route("GET", ONE + "/status")
def status(call: Call) -> dict[str, Any]:
    config = volumes.storage(call.pve, str(call["storage"]))
    return _status(call, str(call["storage"]), config)


def _files(call: Call, sid: str) -> list[dict[str, Any]]:
    notes = call.pve.cluster.data.get("volume_notes", {})
    found = []
    for kind, folder in volumes.FOLDERS.items():
        path = volumes.root(call.pve, sid) / folder
        for file in sorted(path.iterdir()) if path.is_dir() else []:
            volid = f"{sid}:{kind}/{file.name}"
            if not file.is_file() or file.suffix in (".conf", ".notes", ".log"):
                continue
            try:
                name = volumes.parse_name(call.pve.storages.data[sid], f"{kind}/{file.name}")
            except ApiError:
                continue
            info = file.stat()
            entry: dict[str, Any] = {"volid": volid, "content": kind, "size": info.st_size, "format": name.format}
            entry["ctime"] = int(info.st_mtime)
            if kind == "backup":
                entry |= {"subtype": "lxc" if "-lxc-" in file.name else "qemu", **notes.get(volid, {})}
                if name.owner:
                    entry["vmid"] = name.owner
            found.append(entry)
    return found


def _disks(call: Call, sid: str) -> list[dict[str, Any]]:
    found = []
    for volid, entry in sorted(call.pve.volumes.data.copy().items()):
        if volid.startswith(f"{sid}:"):
            found.append({"volid": volid, **entry, "size": int(entry["size"])})
    return found


@route("GET", CONTENT)
def content(call: Call) -> list[dict[str, Any]]:
    sid = str(call["storage"])
    config = volumes.enabled_storage(call.pve, sid)
    allowed = volumes.contents(config)
    wanted = {call["content"]} if call.has("content") else allowed
    entries = [*_disks(call, sid), *(_files(call, sid) if config["type"] in volumes.FILE_BASED else [])]
    found = []
    for entry in entries:
        if entry["content"] not in wanted & allowed:
            continue
        if call.has("vmid") and str(entry.get("vmid")) != str(call["vmid"]):
            continue
        try:
            volumes.check_access(call, None, entry["volid"])
        except ApiError:
            continue
        found.append(entry)
    return found


@route("POST", CONTENT)
def allocate(call: Call) -> str:
    sid, vmid, name = str(call["storage"]), int(call["vmid"]), str(call["filename"])
    text = str(call["size"])
    size = int(text[:-1]) * {"M": 1 << 20, "G": 1 << 30}[text[-1]] if text[-1] in "MG" else int(text) << 10
    found = re.search(r"\.(raw|qcow2|vmdk)$", name)
    kind = str(call.get("format", found[1] if found else "raw"))
    if found and kind != found[1]:
        raise bad(format=f"different storage formats ({kind} != {found[1]})")
    config = volumes.enabled_storage(call.pve, sid)
    if config["type"] in volumes.FILE_BASED:
        if not re.fullmatch(r"(vm|base|subvol|basevol)-\d+-\S+\.(raw|qcow2|vmdk|subvol)", name):
            raise failure(f"unable to parse volume filename '{name}'")
        volid = f"{sid}:{vmid}/{name}"
        shown = f"{config.get('path', '')}/images/{vmid}/{name}"
        if volid in call.pve.volumes.data:
            raise failure(f"disk image '{shown}' already exists")
    else:
        volid = f"{sid}:{name}"
        if not re.match(rf"(vm|subvol)-{vmid}-", name):
            raise failure(f"illegal name '{name}' - should be 'vm-{vmid}-*'")
    volumes.keep(call.pve, volid, size, vmid, kind, "images")
    return volid


def _volid(call: Call) -> str:
    volume, sid = str(call["volume"]), str(call["storage"])
    if ":" not in volume:
        return f"{sid}:{volume}"
    try:
        found = volumes.split(volume)[0]
    except ApiError as error:
        raise bad_field("volume", error.message) from None
    if found != sid:
        raise bad_field("volume", f"storage ID mismatch ({found} != {sid})\n")
    return volume


def shown_path(call: Call, volid: str) -> str:
    """The path a volume would have on the node."""
    sid, name = volumes.split(volid)
    config = volumes.storage(call.pve, sid)
    kind = volumes.parse_name(config, name).kind
    if config["type"] == "zfspool":
        return f"/{config['pool']}/{name}" if name.startswith("subvol") else f"/dev/zvol/{config['pool']}/{name}"
    if config["type"] in ("lvm", "lvmthin"):
        return f"/dev/{config['vgname']}/{name}"
    base = str(config.get("path", f"/mnt/pve/{sid}"))
    folder = volumes.FOLDERS.get(kind)
    return f"{base}/{folder}/{name.partition('/')[2]}" if folder else f"{base}/images/{name}"


@route("GET", VOLUME)
def info(call: Call) -> dict[str, Any]:
    volid = _volid(call)
    volumes.check_access(call, None, volid)
    sid, name = volumes.split(volid)
    parsed = volumes.parse_name(volumes.storage(call.pve, sid), name)
    known = call.pve.volumes.data.get(volid)
    if known is None and not volumes.file_path(call.pve, volid).is_file():
        raise failure(f"volume_size_info on '{volid}' failed - no format")
    size = volumes.size_of(call.pve, volid)
    found: dict[str, Any] = {"path": shown_path(call, volid), "size": size, "used": size, "format": parsed.format}
    if known:
        found["format"] = known["format"]
    if parsed.kind == "backup":
        found |= {"notes": "", "protected": 0, **call.pve.cluster.data.get("volume_notes", {}).get(volid, {})}
    return found


@route("PUT", VOLUME)
def update(call: Call) -> None:
    volid = _volid(call)
    volumes.check_access(call, None, volid, "backup")
    if not volumes.exists(call.pve, volid):
        raise failure(f"volume '{volid}' does not exist")
    with call.pve.cluster.lock:
        notes = call.pve.cluster.data.setdefault("volume_notes", {}).setdefault(volid, {})
        if call.has("notes"):
            notes["notes"] = call["notes"]
        if call.has("protected"):
            notes["protected"] = int(call.flag("protected"))
        call.pve.cluster.save()


@route("DELETE", VOLUME)
def delete(call: Call) -> str | None:
    volid = _volid(call)
    sid, name = volumes.split(volid)
    parsed = volumes.parse_name(volumes.storage(call.pve, sid), name)
    if parsed.kind == "backup" and parsed.owner:
        call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
        call.check(f"/vms/{parsed.owner}", "VM.Backup")
    else:
        call.check(f"/storage/{sid}", "Datastore.Allocate")

    def work(log: Log) -> None:
        if call.pve.cluster.data.get("volume_notes", {}).get(volid, {}).get("protected"):
            raise TaskError("can't remove volume - protected")
        if volid in call.pve.volumes.data:
            volumes.release(call.pve, volid)
        else:
            file = volumes.file_path(call.pve, volid)
            if not file.is_file():
                text = f"disk image '{shown_path(call, volid)}' does not exist"
                if parsed.kind == "images":
                    log(text)
                else:
                    raise TaskError(f"unlink '{shown_path(call, volid)}' failed - No such file or directory")
            for path in (file, file.with_name(f"{file.name}.conf")):
                path.unlink(missing_ok=True)
        log(f"Removed volume '{volid}'")

    owner = f"{parsed.owner}@{sid}" if parsed.owner else sid
    upid = call.start("imgdel", owner, work)
    if call.has("delay"):
        task = call.pve.tasks.all[upid]
        if task.done.wait(call.number("delay")):
            if task.status != "OK":
                raise failure(str(task.status))
            return None
    return upid


def _target(call: Call) -> tuple[str, Path]:
    """The normalised file name of an upload or download and where it goes."""
    sid, kind = str(call["storage"]), str(call["content"])
    name = re.sub(r"[^-a-zA-Z0-9_.]", "_", str(call["filename"]).replace("\\", "/").rsplit("/", 1)[-1].lstrip())
    if not re.search(EXTENSIONS[kind], name, re.I):
        raise bad(filename="wrong file extension")
    config = volumes.storage(call.pve, sid)
    if config["type"] not in volumes.FILE_BASED:
        raise failure(f"can't upload to storage type '{config['type']}', not a file based storage!")
    volumes.enabled_storage(call.pve, sid)
    if kind not in volumes.contents(config):
        raise failure(f"storage '{sid}' is not configured for content-type '{kind}'")
    return name, volumes.root(call.pve, sid) / volumes.FOLDERS[kind] / name


def _verify(call: Call, file: Path, log: Log) -> None:
    if not call.has("checksum"):
        return
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, str(call["checksum-algorithm"])).hexdigest()
    if found.lower() != str(call["checksum"]).lower():
        file.unlink()
        raise TaskError(f"checksum mismatch: got '{found}' != expect '{call['checksum']}'")
    log(f"checksum verified: {found}")


@route("POST", ONE + "/upload")
def upload(call: Call) -> str:
    _, target = _target(call)
    temporary = call.pve.state / "upload" / Path(str(call.get("tmpfilename", "none"))).name
    if not temporary.is_file():
        raise failure("missing temporary upload file")

    def work(log: Log) -> None:
        log(f"starting file import from: {temporary.name}")
        _verify(call, temporary, log)
        target.parent.mkdir(parents=True, exist_ok=True)
        log(f"target file: {target.name}")
        shutil.move(temporary, target)
        log("finished file import successfully")

    return call.start("imgcopy", "", work)


@route("POST", ONE + "/download-url")
def download_url(call: Call) -> str:
    given = [name for name in ("checksum", "checksum-algorithm") if call.has(name)]
    if len(given) == 1:
        missing = "checksum" if given == ["checksum-algorithm"] else "checksum-algorithm"
        raise bad_field(missing, f"missing property required by '{given[0]}'")
    name, target = _target(call)

    def work(log: Log) -> None:
        import urllib.request  # slow to import, and seldom needed

        log(f"downloading {call['url']} to {name}")
        if target.exists():
            raise TaskError(f"refusing to override existing file '{name}'")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        try:
            with urllib.request.urlopen(str(call["url"]), timeout=60) as source, partial.open("wb") as file:  # noqa: S310
                shutil.copyfileobj(source, file)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise TaskError(f"download failed: {error}") from error
        _verify(call, partial, log)
        partial.replace(target)
        log(f"download of '{call['url']}' to '{name}' finished")

    return call.start("download", name, work)
