"""Removing a guest of either kind: its own volumes, its configuration, and all that names it."""

from __future__ import annotations

from collections.abc import Iterable

from . import common, ha, volume_features, volumes
from .errors import failure
from .guestconf import GuestConf
from .pve import Pve
from .registry import Call
from .tasks import Log


def remove(call: Call, conf: GuestConf, log: Log) -> None:
    """Removes a stopped guest of either kind with its own disks and all that names it."""
    pve, vmid = call.pve, conf.vmid
    own = _own_volumes(pve, conf, log)
    pve.guests.set(conf, {"lock": "destroyed"})
    pve.backend.destroy(pve.spec(conf), log)
    if call.flag("destroy-unreferenced-disks"):
        own += [volid for volid in volumes.owned(pve, vmid) if not volume_features.base_in_use(pve, volid)]
    volumes.release(pve, *own)
    common.forget_access(pve, vmid)
    if call.flag("purge"):
        _purge(call, conf, log)
    pve.guests.remove(conf)


def discard(pve: Pve, conf: GuestConf, fresh: Iterable[str], log: Log) -> None:
    """Undoes a guest that was being made: no disks, no configuration."""
    volumes.release(pve, *fresh)
    pve.backend.destroy(pve.spec(conf), log)
    if found := pve.guests.get(conf.vmid):
        pve.guests.remove(found)


def _own_volumes(pve: Pve, conf: GuestConf, log: Log) -> list[str]:
    """The volumes that go with a guest; a base image that linked clones need keeps the guest."""
    found: list[str] = []
    for volid in volume_features.referenced(conf):
        if volume_features.owner(pve, volid) != conf.vmid:
            if conf.kind == "lxc":
                log(f"ignore deletion of '{volid}', CT {conf.vmid} isn't the owner!")
        elif not volume_features.base_in_use(pve, volid):
            found.append(volid)
        elif conf.kind == "lxc":
            raise failure(f"base volume '{volumes.split(volid)[1]}' is still in use by linked clones")
        else:
            raise failure(f"base volume '{volid}' is still in use by linked cloned")
    return found


def _purge(call: Call, conf: GuestConf, log: Log) -> None:
    word = common.WORD[conf.kind]
    log(f"purging {word} {conf.vmid} from related configurations..")
    _forget_backups(call, conf.vmid)
    if ha.managed(call.pve, conf):
        ha.forget(call.pve, conf)
        log(f"NOTE: removed {word} {conf.vmid} from HA resource configuration.")


def _forget_backups(call: Call, vmid: int) -> None:
    with call.pve.cluster.changed():
        for job in call.pve.table("backup").values():
            if job.get("vmid"):
                job["vmid"] = ",".join(v for v in job["vmid"].split(",") if v != str(vmid))
