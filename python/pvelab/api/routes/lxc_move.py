"""Moving a container's volumes: to another storage, to another container."""

from __future__ import annotations

from typing import Any

from .. import common, lxc_config, lxc_update, volume_features, volumes
from ..digests import CHANGED, check_digest
from ..errors import VERIFICATION, ApiError, failure, refuse_if
from ..guestconf import GuestConf
from ..lxc_update import add_unused
from ..registry import Call, route
from ..tasks import Log

NEITHER = "both 'storage' and 'target-vmid' missing, either needs to be set"


def wrong_target(text: str) -> ApiError:
    """A 400 that names both ways to say where a disk goes."""
    return ApiError(400, VERIFICATION, {"storage": text, "target-vmid": text})


@route("POST", "/nodes/{node}/lxc/{vmid}/move_volume")
def move_volume(call: Call) -> str:
    """Moves a volume of a container to another storage or to another container."""
    refuse_if(call.has("storage") and call.has("target-vmid"), "either set storage or target-vmid, but not both")
    if call.has("target-vmid"):
        return _give_volume(call)
    refuse_if(not call.has("storage"), wrong_target(NEITHER))
    pve, vmid, key, sid = call.pve, call.vmid, str(call["volume"]), str(call["storage"])
    call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
    with pve.lock(vmid, "lxc", held="lock" in call.faults):
        fields = _movable(call, key)
        common.set_lock(pve, vmid, "disk")

    def work(log: Log) -> None:
        try:
            conf = pve.conf(vmid, "lxc").copy()
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


def _movable(call: Call, key: str) -> dict[str, Any]:
    conf = call.pve.conf(call.vmid, "lxc")
    common.check_lock(conf)
    refuse_if(call.pve.running(call.vmid), "cannot move volumes of a running container")
    if key.startswith("unused"):
        raise failure(f"cannot move volume '{key}', only configured volumes can be moved to another storage")
    fields = lxc_update.disk(conf, key)
    if call.flag("delete") and volume_features.in_snapshot(conf, str(fields["volume"])):
        raise failure("you can't move a volume with snapshots and delete the source")
    check_digest(call, conf.digest)
    return fields


def _give_volume(call: Call) -> str:
    pve, vmid, other = call.pve, call.vmid, int(call["target-vmid"])
    key = str(call["volume"])
    place = str(call.get("target-volume", key))
    if not call.is_root:
        common.check_vm(call, other, None, "VM.Config.Disk")
    fields = _givable(call, key, place, other)[2]
    call.check(f"/storage/{volumes.split(str(fields['volume']))[0]}", "Datastore.AllocateSpace")

    def work(log: Log) -> None:
        source, target, found = _givable(call, key, place, other)
        log(f"moving volume '{key}' from container '{vmid}' to '{other}'")
        found = {**found, "volume": volume_features.rename(pve, str(found["volume"]), other)}
        source = source.copy()
        del source.values[key]
        log(f"removing volume '{key}' from container '{vmid}' config")
        pve.guests.save(source)
        target = (source if other == vmid else target).copy()
        unused = place.startswith("unused")
        target.values[place] = str(found["volume"]) if unused else lxc_config.print_volume(place, found)
        pve.guests.save(target)
        log(f"target container '{other}' updated with '{place}'")

    return call.start("move_volume", f"{vmid}-{key}>{other}-{place}", work)


def _givable(call: Call, key: str, place: str, other: int) -> tuple[GuestConf, GuestConf, dict[str, Any]]:
    pve, vmid = call.pve, call.vmid
    refuse_if("rootfs" in (key, place), "Cannot move to/from 'rootfs'")
    if key.startswith("unused") and not place.startswith("unused"):
        raise failure("Moving an unused volume to a used one is not possible")
    for number in (vmid, other):
        if pve.guests.get(number) is None:
            raise failure(f"could not find CT {number}")
    source, target = pve.conf(vmid, "lxc"), pve.conf(other, "lxc")
    common.check_lock(source)
    common.check_lock(target)
    refuse_if(common.is_template(source) or common.is_template(target), "Can't move volumes from or to template CT")
    check_digest(call, source.digest, f"Container {vmid}: {CHANGED}", "digest")
    check_digest(call, target.digest, f"Container {other}: {CHANGED}", "target-digest")
    refuse_if(key not in source.values, f"volume '{key}' for container '{vmid}' does not exist")
    refuse_if(place in target.values, f"Target volume key '{place}' is already in use for container '{other}'")
    fields = lxc_update.disk(source, key)
    volid = str(fields["volume"])
    refuse_if(volume_features.in_snapshot(source, volid), "Cannot move volume used by a snapshot to another container")
    if not volume_features.has(pve, "rename", volid):
        raise failure("Storage does not support moving of this disk to another container")
    if pve.running(vmid) and not key.startswith("unused"):
        raise failure("Cannot move in-use volume while the source CT is running - detach or shutdown first")
    return source, target, fields
