"""Moving a virtual machine's disks: to another storage or format, to another machine."""

from __future__ import annotations

from typing import Any

from .. import common, qemu_config, qemu_update, volume_features, volumes
from ..digests import CHANGED, check_digest
from ..errors import ApiError, bad_field, failure, refuse_if
from ..guestconf import GuestConf
from ..lxc_update import add_unused
from ..registry import Call, route
from ..tasks import Log
from .lxc_move import NEITHER, wrong_target
from .qemu import make_template

BOTH = "either set 'storage' or 'target-vmid', but not both"


@route("POST", "/nodes/{node}/qemu/{vmid}/move_disk")
def move_disk(call: Call) -> str:
    """Moves a disk of a machine to another storage (or format), or to another machine."""
    refuse_if(call.has("storage") and call.has("target-vmid"), wrong_target(BOTH))
    if call.has("target-vmid"):
        return _give_disk(call)
    refuse_if(not call.has("storage"), wrong_target(NEITHER))
    pve, vmid, sid = call.pve, call.vmid, str(call["storage"])
    call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
    _disk_to_move(call, sid)

    def work(log: Log) -> None:
        with pve.lock(vmid, "qemu", log, "lock" in call.faults):
            conf, fields = _disk_to_move(call, sid)
            old = str(fields["file"])
            log(f"copying volume '{old}' from current storage '{volumes.split(old)[0]}' to target storage '{sid}'")
            volumes.activate(pve, old)
            try:
                _copy_disk(call, conf.copy(), fields, sid, log)
            except ApiError as error:
                raise failure(f"storage migration failed: {error}") from error
            if call.flag("delete"):
                log(f"removing source volume '{old}' after successful copy")
                volume_features.free(pve, old)

    return call.start("qmmove", vmid, work)


def _disk_to_move(call: Call, sid: str) -> tuple[GuestConf, dict[str, Any]]:
    pve, key = call.pve, str(call["disk"])
    conf = pve.conf(call.vmid, "qemu")
    common.check_lock(conf)
    check_digest(call, conf.digest)
    fields = _existing(conf, key, f"disk '{key}' does not exist")
    refuse_if(qemu_config.is_cdrom(fields) and not qemu_config.is_cloudinit(fields), "you can't move a cdrom")
    old = str(fields["file"])
    kind = volume_features.format_of(pve, old)
    if volumes.split(old)[0] == sid and call.get("format", kind) == kind:
        raise failure("you can't move to the same storage with same format")
    if "images" not in volumes.contents(volumes.enabled_storage(pve, sid)):
        raise bad_field("storage", f"storage '{sid}' does not support vm images")
    if call.flag("delete") and volume_features.in_snapshot(conf, old):
        raise failure("you can't move a disk with snapshots and delete the source")
    return conf, fields


def _existing(conf: GuestConf, key: str, missing: str) -> dict[str, Any]:
    refuse_if(not conf.values.get(key), missing)
    if key.startswith("unused"):
        return {"file": conf.values[key]}
    return qemu_config.parse_drive(key, conf.values[key]) or {}


def _copy_disk(call: Call, conf: GuestConf, fields: dict[str, Any], sid: str, log: Log) -> None:
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
    if key.startswith("unused"):
        conf.values[key] = fresh
    else:
        conf.values[key] = qemu_config.print_drive({**known, "file": fresh, "size": size})
    if not call.flag("delete"):
        before = set(conf.values)
        add_unused(conf, old)
        log(f"adding source volume '{old}' as '{''.join(set(conf.values) - before)}' to config")
    if common.is_template(conf):
        make_template(pve, conf, key)
    pve.guests.save(conf)


def _give_disk(call: Call) -> str:
    pve, vmid, other = call.pve, call.vmid, int(call["target-vmid"])
    key = str(call["disk"])
    place = str(call.get("target-disk", key))
    if not call.is_root:
        common.check_vm(call, other, None, "VM.Config.Disk")
    refuse_if(vmid == other, bad_field("target-vmid", "must be different than source VMID to reassign disk"))
    fields = _disk_to_give(call, key, place, other)[1]
    call.check(f"/storage/{volumes.split(str(fields['file']))[0]}", "Datastore.AllocateSpace")

    def work(log: Log) -> None:
        source, found = _disk_to_give(call, key, place, other)
        log(f"reassign disk '{key}' from VM '{vmid}' as '{place}' to VM '{other}'")
        source, fresh = source.copy(), volume_features.rename(pve, str(found["file"]), other)
        order = qemu_config.boot_order(source.values)
        if key in order:
            log(f"removing disk '{key}' from boot order config")
            source.values["boot"] = qemu_config.print_boot([d for d in order if d != key])
        del source.values[key]
        log(f"removing disk '{key}' from VM '{vmid}' config")
        pve.guests.save(source)
        _attach(call, other, place, {**found, "file": fresh}, log)

    return call.start("qmmove", f"{vmid}-{key}>{other}-{place}", work)


def _attach(call: Call, vmid: int, place: str, fields: dict[str, Any], log: Log) -> None:
    if place.startswith("unused"):
        target = call.pve.conf(vmid, "qemu").copy()
        target.values[place] = str(fields["file"])
        call.pve.guests.save(target)
        return
    params = {"node": call["node"], "vmid": str(vmid), place: qemu_config.print_drive(fields)}
    if call.has("target-digest"):
        params["digest"] = str(call["target-digest"])
    qemu_update.synchronous(Call(call.pve, call.user, params, call.method, call.path), log)


def _disk_to_give(call: Call, key: str, place: str, other: int) -> tuple[GuestConf, dict[str, Any]]:
    pve, vmid = call.pve, call.vmid
    if pve.guests.get(vmid) is None:
        raise failure(f"could not find VM {vmid}")
    if pve.guests.get(other) is None:
        raise failure(f"could not find target VM {other}")
    source, target = pve.conf(vmid, "qemu"), pve.conf(other, "qemu")
    common.check_lock(source)
    common.check_lock(target)
    refuse_if(common.is_template(source) or common.is_template(target), "Can't move disks from or to template VMs")
    check_digest(call, source.digest, f"VM {vmid}: {CHANGED}", "digest")
    check_digest(call, target.digest, f"VM {other}: {CHANGED}", "target-digest")
    fields = _existing(source, key, f"Disk '{key}' for VM '{vmid}' does not exist")
    refuse_if(target.values.get(place), f"Target disk key '{place}' is already in use for VM '{other}'")
    if qemu_config.is_cdrom(fields) and not qemu_config.is_cloudinit(fields):
        raise failure("CD drive contents can't be moved to another VM")
    volid = str(fields["file"])
    refuse_if(volid.startswith("/"), f"Volume '{volid}' not managed by PVE")
    refuse_if(volume_features.in_snapshot(source, volid), "Can't move disk used by a snapshot to another VM")
    if not volume_features.has(pve, "rename", volid):
        raise failure("Storage does not support moving of this disk to another VM")
    if pve.running(vmid) and not key.startswith("unused"):
        raise failure("Cannot move disk to another VM while the source VM is running - detach first")
    return source, fields
