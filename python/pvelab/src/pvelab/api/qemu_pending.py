"""Making a virtual machine's pending changes current, at once or at its restart."""

from __future__ import annotations

from . import common, qemu_disks
from .errors import ApiError, refuse_if
from .guestconf import GuestConf
from .qemu_config import FASTPLUG, is_cdrom, is_drive, parse_drive
from .qemu_hotplug import goes_live, media_changed
from .registry import Call


def apply_pending(call: Call, conf: GuestConf, touched: set[str] | None, running: bool, errors: dict[str, str]) -> None:
    """Makes changes current; of a running machine only those that need no restart."""
    live: set[str] = set()
    for key in sorted({*conf.pending, *conf.deleted}):
        free = key in FASTPLUG or key.startswith("ipconfig")
        if running and not free and not (goes_live(conf, key) and (touched is None or key in touched)):
            continue
        what = "hotplug problem -" if running else f"unable to apply pending change {key} :"
        try:
            if running and not free:
                _check_media(conf, key)
                live.add(key)
            _apply_one(call, conf, key)
        except ApiError as error:
            errors[key] = f"{what} {error}\n"
    if live:
        waiting = call.pve.backend.apply(call.pve.spec(conf), live)
        for key in waiting & set(conf.values):
            conf.pending[key] = conf.values[key]


def _check_media(conf: GuestConf, key: str) -> None:
    if not is_drive(key) or key not in conf.values or key not in conf.pending:
        return
    refuse_if(media_changed(key, conf.values[key], conf.pending[key]), "unable to change media type")


def _apply_one(call: Call, conf: GuestConf, key: str) -> None:
    old, value = conf.values.get(key), conf.pending.get(key)
    if old is not None and is_drive(key):
        fields = parse_drive(key, old) or {}
        kept = parse_drive(key, value) if value else None
        if not kept or kept.get("file") != fields.get("file"):
            _take_away(call, conf, key, old)
    conf.pending.pop(key, None)
    conf.deleted.pop(key, None)
    if value is not None:
        conf.values[key] = value
    else:
        conf.values.pop(key, None)


def _take_away(call: Call, conf: GuestConf, key: str, old: str) -> None:
    fields = parse_drive(key, old) or {}
    if conf.deleted.get(key) and not is_cdrom(fields):
        common.check_vm(call, conf.vmid, None, "VM.Config.Disk")
        qemu_disks.dispose(call, conf, key, str(fields.get("file")))
        return
    before = dict(conf.values)
    del conf.values[key]
    qemu_disks.unplug(call.pve, conf, key, old)
    conf.values[key] = before[key]
