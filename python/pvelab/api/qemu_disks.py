"""Drives of virtual machines: allocation, import, cloud-init, and what happens to those taken away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import lxc_config, volumes
from .errors import ApiError, TaskError, failure
from .guestconf import GuestConf
from .qemu_config import NEW_DISK, Fields, is_cdrom, is_cloudinit, is_drive, parse_drive, print_drive
from .registry import Call

EFI_SIZE = 528 << 10
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
    except (ApiError, TaskError):
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
    sid = str(fields["file"]).rpartition(":")[0] or default
    if not sid:
        raise failure("no storage ID specified (and no default storage)")
    taken = attached_cloudinit(others, key)
    if taken:
        raise failure(f"{key} - cloud-init drive is already attached at '{taken}'")
    fields["file"] = volumes.allocate(call, sid, conf.vmid, CLOUD_SIZE, label="cloudinit")
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
    if fields.get("import-from"):
        source, size = _source(call, str(fields.pop("import-from")))
    if key == "efidisk0" and source is None:
        size = EFI_SIZE
    elif key == "tpmstate0" and source is None:
        size = TPM_SIZE
    fields["file"] = volumes.allocate(call, sid, conf.vmid, size)
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
        from .routes.storage_content import shown_path

        shown = text if text.startswith("/") else shown_path(call, text)
        raise TaskError(f"failed to stat '{shown}'")
    return path, volumes.image_size(path)


def _check_existing(call: Call, key: str, fields: Fields, volid: str, others: dict[str, str]) -> None:
    if is_cloudinit(fields):
        taken = attached_cloudinit(others, key)
        if taken:
            raise failure(f"{key} - cloud-init drive is already attached at '{taken}'")
    if volid.startswith("/"):
        return
    if not volumes.exists(call.pve, volid):
        raise failure(f"volume {volid} does not exist")
    fields["size"] = volumes.size_of(call.pve, volid)


def unplug(conf: GuestConf, key: str, value: str) -> None:
    """Keeps the volume of a drive that is taken away as unusedN (CD-ROMs and cloud-init drives go)."""
    fields = parse_drive(key, value) or {}
    if not is_cdrom(fields) and not str(fields.get("file", "/")).startswith("/"):
        lxc_config.add_unused(conf, str(fields["file"]))
