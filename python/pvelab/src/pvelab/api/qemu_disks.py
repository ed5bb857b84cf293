"""Drives of virtual machines: allocation, import, cloud-init, and what happens to those taken away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import common, lxc_update, volume_features, volumes
from .errors import ApiError, existing, failure, refuse_if
from .guestconf import GuestConf
from .pve import Pve
from .qemu_config import NEW_DISK, Fields, is_cdrom, is_cloudinit, is_drive, parse_drive, print_drive
from .registry import Call
from .storage_paths import shown_path
from .words import truth

EFI_SIZES = {"4m": 528 << 10}  # of the variables' template, by efitype
OLD_EFI_SIZE = 128 << 10
TPM_SIZE = 4 << 20
CLOUD_SIZE = 4 << 20
Line = Callable[[str], None]


def make(
    call: Call, conf: GuestConf, drives: dict[str, str], default: str | None, log: Line
) -> tuple[dict[str, str], list[str], Path | None]:
    """Allocates what the drives ask for: their stored texts, the new volumes, and the first image imported."""
    made: dict[str, str] = {}
    fresh: list[str] = []
    source: Path | None = None
    try:
        for key in sorted(k for k in drives if is_drive(k)):
            fields = parse_drive(key, drives[key]) or {}
            before = len(fresh)
            imported = _make_one(call, conf, key, fields, default, fresh, {**conf.values, **conf.pending, **made})
            source = source or imported
            made[key] = print_drive(fields)
            if len(fresh) > before:
                log(f"{key}: successfully created disk '{made[key]}'")
            if common.is_template(conf) and len(fresh) > before and not is_cdrom(fields):
                fields["file"] = fresh[-1] = volume_features.make_base(call.pve, fresh[-1])
                made[key] = print_drive(fields)
    except ApiError:
        volumes.release(call.pve, *fresh)
        raise
    return made, fresh, source


def _make_one(
    call: Call, conf: GuestConf, key: str, fields: Fields, default: str | None, fresh: list[str], others: dict[str, str]
) -> Path | None:
    file = str(fields["file"])
    if file in ("none", "cdrom"):
        fields.pop("size", None)
        return None
    if file == "cloudinit" or file.endswith(":cloudinit"):
        _make_cloudinit(call, conf, key, fields, default, fresh, others)
        return None
    wanted = NEW_DISK.fullmatch(file)
    if wanted and not is_cdrom(fields):
        return _make_disk(call, conf, key, fields, str(wanted[1] or default), wanted[2], fresh)
    _check_existing(call, key, fields, file, others)
    return None


def _make_cloudinit(
    call: Call, conf: GuestConf, key: str, fields: Fields, default: str | None, fresh: list[str], others: dict[str, str]
) -> None:
    named = str(fields["file"]).rpartition(":")[0] or default
    sid = existing(named, "no storage ID specified (and no default storage)")
    taken = attached_cloudinit(others, key)
    refuse_if(taken, f"{key} - cloud-init drive is already attached at '{taken}'")
    kind = str(
        fields.get("format") or ("qcow2" if volumes.storage(call.pve, sid)["type"] in volumes.FILE_BASED else "raw")
    )
    fields["file"] = volumes.allocate(call, sid, conf.vmid, CLOUD_SIZE, label="cloudinit", kind=kind)
    fields["media"] = "cdrom"
    fields.pop("format", None)
    fresh.append(fields["file"])


def attached_cloudinit(values: dict[str, str], but: str = "") -> str | None:
    """The drive that holds cloud-init data, if any."""
    for key, value in values.items():
        if key != but and is_drive(key) and is_cloudinit(parse_drive(key, value) or {}):
            return key
    return None


def _make_disk(
    call: Call, conf: GuestConf, key: str, fields: Fields, sid: str, gib: str, fresh: list[str]
) -> Path | None:
    source: Path | None = None
    size = volumes.gib(gib)
    kind = str(fields.get("format") or volume_features.picked_format(call.pve, sid, None))
    imported = fields.pop("import-from", None)
    if imported:
        source, size = _source(call, str(imported))
        if not str(imported).startswith("/"):
            hint = fields.get("format") or volume_features.format_of(call.pve, str(imported))
            kind = volume_features.picked_format(call.pve, sid, str(hint))
    elif key == "efidisk0":
        size = EFI_SIZES.get(str(fields.get("efitype")), OLD_EFI_SIZE)
        if truth(fields.get("pre-enrolled-keys")) and fields.get("efitype") == "4m":
            fields["ms-cert"] = "2023k"
    elif key == "tpmstate0":
        size = TPM_SIZE
    fields["file"] = volumes.allocate(call, sid, conf.vmid, size, kind=kind)
    fields["size"] = size
    fields.pop("format", None)
    fresh.append(fields["file"])
    return source


def _source(call: Call, text: str) -> tuple[Path | None, int]:
    """The image a disk is imported from, with its virtual size."""
    pve = call.pve
    if text in pve.volumes.data:
        return None, volumes.size_of(pve, text)
    path = Path(text) if text.startswith("/") else volumes.file_path(pve, text)
    if not path.is_file():
        refuse_if(text.startswith("/"), f"can't find file '{text}'")
        image = volumes.named(pve, text).kind == "images"
        refuse_if(image, f"cannot import from '{text}' - could not get size of {text}")
        raise failure(f"failed to stat '{shown_path(call.pve, text)}'")
    return path, volumes.image_size(path)


def _check_existing(call: Call, key: str, fields: Fields, volid: str, others: dict[str, str]) -> None:
    if is_cloudinit(fields):
        taken = attached_cloudinit(others, key)
        refuse_if(taken, f"{key} - cloud-init drive is already attached at '{taken}'")
    if volid.startswith("/"):
        raise failure(f"volume {volid} does not exist")  # a device: the emulated node has none
    asked, kind = fields.get("format"), volume_features.format_of(call.pve, volid)
    if asked and asked != kind:
        text = f"'format={asked}' option different from storage format '{kind}'"
        raise failure(f"drive '{key}' - volume '{volid}' - {text}")
    volumes.activate(call.pve, volid)
    fields["size"] = volumes.size_of(call.pve, volid)


def unplug(pve: Pve, conf: GuestConf, key: str, value: str) -> None:
    """What becomes of a drive that is taken away: own volumes stay as unusedN, cloud-init drives are removed."""
    fields = parse_drive(key, value) or {}
    volid = str(fields.get("file", "/"))
    if is_cloudinit(fields):
        volumes.release(pve, volid)
    elif not is_cdrom(fields) and not volid.startswith("/"):
        sid = volumes.split(volid)[0]
        if sid in pve.storages.data and volume_features.owner(pve, volid) == conf.vmid:
            lxc_update.add_unused(conf, volid)


def dispose(call: Call, conf: GuestConf, key: str, volid: str) -> None:
    """Removes a volume that no drive or snapshot of the machine uses any more; another guest's volume stays."""
    if volume_features.owner(call.pve, volid) != conf.vmid:
        return
    call.check(f"/storage/{volumes.split(volid)[0]}", "Datastore.AllocateSpace")
    others = {k: v for k, v in conf.values.items() if k != key}
    used = any(volid == found for _, _, found in volume_features.each(conf.kind, others))
    if used or volume_features.in_snapshot(conf, volid):
        raise failure(f"unable to delete '{volid}' - volume is still in use (snapshot?)")
    volume_features.free(call.pve, volid)
