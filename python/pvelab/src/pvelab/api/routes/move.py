"""Moving a guest's volumes to another storage or format. To another guest they can't be given here."""

from __future__ import annotations

from typing import Any

from .. import common, lxc_config, lxc_update, qemu_config, volume_features, volumes
from ..errors import VERIFICATION, ApiError, bad_field, prefixed, refuse_if
from ..guestconf import GuestConf
from ..lxc_update import add_unused
from ..registry import Call, route
from ..tasks import Log
from . import qemu

NEITHER = "both 'storage' and 'target-vmid' missing, either needs to be set"
BOTH = "either set 'storage' or 'target-vmid', but not both"
GIVEN = "pvelab does not support giving a volume to another guest"
Fields = dict[str, Any]


def _wrong_target(text: str) -> ApiError:
    """A 400 that names both ways to say where a disk goes."""
    return ApiError(400, VERIFICATION, {"storage": text, "target-vmid": text})


@route("POST", "/nodes/{node}/lxc/{vmid}/move_volume")
def move_volume(call: Call) -> str:
    """Moves a volume of a container to another storage."""
    both = call.has("storage") and call.has("target-vmid")
    refuse_if(both, "either set storage or target-vmid, but not both")
    refuse_if(call.has("target-vmid"), GIVEN)
    refuse_if(not call.has("storage"), _wrong_target(NEITHER))
    pve, vmid, key, sid = call.pve, call.vmid, str(call["volume"]), str(call["storage"])
    call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
    with call.locked():
        conf = call.conf
        common.check_lock(conf)
        refuse_if(pve.running(vmid), "cannot move volumes of a running container")
        unused = f"cannot move volume '{key}', only configured volumes can be moved to another storage"
        refuse_if(key.startswith("unused"), unused)
        fields = lxc_update.disk(conf, key)
        kept = call.flag("delete") and volume_features.in_snapshot(conf, str(fields["volume"]))
        refuse_if(kept, "you can't move a volume with snapshots and delete the source")
        call.check_digest(conf.digest)
        common.set_lock(pve, vmid, "disk")

    def work(log: Log) -> None:
        try:
            conf = call.conf.copy()
            old = str(fields["volume"])
            volumes.activate(pve, old)
            size = volumes.size_of(pve, old)
            fresh = volumes.allocate(call, sid, vmid, size, container=True)
            if common.is_template(conf):
                fresh = volume_features.make_base(pve, fresh)
            conf.values[key] = lxc_config.print_volume(key, {**fields, "volume": fresh, "size": size})
            if call.flag("delete"):
                volume_features.free(pve, old)
            else:
                add_unused(conf, old)
            pve.guests.save(conf)
        finally:
            common.set_lock(pve, vmid, None)

    return call.start("move_volume", vmid, work)


@route("POST", "/nodes/{node}/qemu/{vmid}/move_disk")
def move_disk(call: Call) -> str:
    """Moves a disk of a machine to another storage (or format)."""
    refuse_if(call.has("storage") and call.has("target-vmid"), _wrong_target(BOTH))
    refuse_if(call.has("target-vmid"), GIVEN)
    refuse_if(not call.has("storage"), _wrong_target(NEITHER))
    sid = str(call["storage"])
    call.check(f"/storage/{sid}", "Datastore.AllocateSpace")

    def work(found: tuple[GuestConf, Fields], log: Log) -> None:
        conf, fields = found
        old = str(fields["file"])
        log(f"copying volume '{old}' from current storage '{volumes.split(old)[0]}' to target storage '{sid}'")
        volumes.activate(call.pve, old)
        with prefixed("storage migration failed: "):
            _copy_disk(call, conf.copy(), fields, sid, log)
        if call.flag("delete"):
            log(f"removing source volume '{old}' after successful copy")
            volume_features.free(call.pve, old)

    return call.start_checked("qmmove", lambda: _movable_disk(call, sid), work)


def _movable_disk(call: Call, sid: str) -> tuple[GuestConf, Fields]:
    pve, key, conf = call.pve, str(call["disk"]), call.conf
    common.check_lock(conf)
    call.check_digest(conf.digest)
    refuse_if(not conf.values.get(key), f"disk '{key}' does not exist")
    fields = _machine_disk(conf, key)
    refuse_if(qemu_config.is_cdrom(fields) and not qemu_config.is_cloudinit(fields), "you can't move a cdrom")
    old = str(fields["file"])
    kind = volume_features.format_of(pve, old)
    same = volumes.split(old)[0] == sid and call.get("format", kind) == kind
    refuse_if(same, "you can't move to the same storage with same format")
    takes = "images" in volumes.contents(volumes.enabled_storage(pve, sid))
    refuse_if(not takes, bad_field("storage", f"storage '{sid}' does not support vm images"))
    kept = call.flag("delete") and volume_features.in_snapshot(conf, old)
    refuse_if(kept, "you can't move a disk with snapshots and delete the source")
    return conf, fields


def _machine_disk(conf: GuestConf, key: str) -> Fields:
    if key.startswith("unused"):
        return {"file": conf.values[key]}
    return qemu_config.parse_drive(key, conf.values[key]) or {}


def _copy_disk(call: Call, conf: GuestConf, fields: Fields, sid: str, log: Log) -> None:
    pve, key, old = call.pve, str(call["disk"]), str(fields["file"])
    if volume_features.in_snapshot(conf, old):
        log("moving disk with snapshots, snapshots will not be moved!")
    log(f"create full clone of drive {key} ({old})")
    kind = volume_features.picked_format(pve, sid, str(call.get("format") or volume_features.format_of(pve, old)))
    size, label = volumes.size_of(pve, old), "cloudinit" if qemu_config.is_cloudinit(fields) else ""
    fresh = volumes.allocate(call, sid, conf.vmid, size, label=label, kind=kind)
    log(f"allocated target volume '{fresh}'")
    if not label:
        volume_features.say_copied(size, log)
    known = {k: v for k, v in fields.items() if k != "format"}
    whole = qemu_config.print_drive({**known, "file": fresh, "size": size})
    conf.values[key] = fresh if key.startswith("unused") else whole
    if not call.flag("delete"):
        before = set(conf.values)
        add_unused(conf, old)
        log(f"adding source volume '{old}' as '{''.join(set(conf.values) - before)}' to config")
    if common.is_template(conf):
        qemu.make_template(pve, conf, key)
    pve.guests.save(conf)
