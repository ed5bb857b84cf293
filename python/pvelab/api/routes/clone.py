"""Clones, full and linked, and moving a disk to another storage."""

from __future__ import annotations

import re
import uuid

from ...backend import BackendError
from .. import common, lxc_config, qemu_config, volumes
from ..errors import ApiError, TaskError, bad, failure
from ..guestconf import GuestConf, Values
from ..registry import Call, route
from ..tasks import Log

SKIPPED = re.compile(r"unused\d+|parent|snaptime|snapstate|vmstate|runningcpu|runningmachine|template|lock")


def _source(call: Call, conf: GuestConf) -> Values:
    name = call.get("snapname")
    if name and name not in conf.snapshots:
        raise failure(f"snapshot '{name}' does not exist")
    return conf.snapshots[name] if name else conf.values


def _is_full(call: Call, conf: GuestConf) -> bool:
    full = call.flag("full", default=not common.is_template(conf))
    for option in ("storage", "format"):
        if call.has(option) and not full:
            raise failure(f"parameter '{option}' not allowed for linked clones")
    return full


def _target_storage(call: Call, volid: str) -> str:
    sid = str(call.get("storage") or volumes.split(volid)[0])
    call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
    return sid


def _finish(call: Call, new: GuestConf, log: Log, kind: str) -> None:
    new.values.pop("lock", None)
    call.pve.guests.save(new)
    common.add_to_pool(call.pve, new.vmid, call.get("pool"))


def _undo(call: Call, new: GuestConf, log: Log) -> None:
    call.pve.backend.destroy(call.pve.spec(new), log)
    volumes.release(call.pve, *volumes.owned(call.pve, new.vmid))
    found = call.pve.guests.get(new.vmid)
    if found:
        call.pve.guests.remove(found)


@route("POST", "/nodes/{node}/lxc/{vmid}/clone")
def clone_container(call: Call) -> str:
    pve, vmid, newid = call.pve, call.vmid, int(call["newid"])
    common.check_pool(pve, call.get("pool"))
    if call.has("storage"):
        volumes.enabled_storage(pve, str(call["storage"]))
    conf = pve.conf(vmid, "lxc")
    common.check_lock(conf)
    common.check_unused_vmid(pve, newid)
    full, values = _is_full(call, conf), _source(call, conf)
    new = GuestConf(newid, "lxc", {"lock": "create"})
    for key, value in sorted(values.items()):
        if lxc_config.VOLUME.fullmatch(key):
            _check_volume(call, key, value, full)
        elif re.fullmatch(r"net\d+", key):
            net = {k: v for k, v in lxc_config.parse_net(value).items() if k != "hwaddr"}
            new.values[key] = lxc_config.print_net(pve, ",".join(f"{k}={v}" for k, v in net.items()))
            fields = lxc_config.parse_net(value)
            common.check_bridge(call, fields.get("bridge"), fields.get("tag"), fields.get("trunks"))
        elif not SKIPPED.fullmatch(key):
            new.values[key] = value
    for key in ("hostname", "description"):
        if call.get(key):
            new.values[key] = str(call[key])
    pve.guests.save(new)

    def work(log: Log) -> None:
        try:
            log(f"creating a clone of container {vmid} with ID {newid}")
            with pve.lock(vmid, "lxc", log, "lock" in call.faults):
                for key in sorted(k for k in values if lxc_config.VOLUME.fullmatch(k)):
                    fields = lxc_config.parse_volume(key, values[key])
                    log(f"create {'full' if full else 'linked'} clone of mountpoint {key} ({fields['volume']})")
                    size = volumes.size_of(pve, fields["volume"])
                    sid = str(call.get("storage") or volumes.split(fields["volume"])[0])
                    fields["volume"] = volumes.allocate(call, sid, newid, size, container=True)
                    new.values[key] = lxc_config.print_volume(key, fields)
                pve.backend.clone(pve.spec(conf), pve.spec(new), log)
            for line in pve.backend.host_keys(pve.spec(new)):
                log(line)
            _finish(call, new, log, "lxc")
        except (ApiError, TaskError, BackendError) as error:
            _undo(call, new, log)
            raise TaskError(f"clone failed: {error.text if isinstance(error, ApiError) else error}") from error

    return call.start("vzclone", vmid, work)


def _check_volume(call: Call, key: str, value: str, full: bool) -> None:
    fields = lxc_config.parse_volume(key, value)
    if fields["type"] != "volume":
        raise failure(f"unable to clone mountpoint '{key}' (type {fields['type']})")
    _target_storage(call, fields["volume"])
    if full:
        if call.pve.running(call.vmid) and not call.has("snapname"):
            raise failure("Full clone of a running container is only possible from a snapshot")
    elif volumes.storage(call.pve, volumes.split(fields["volume"])[0])["type"] not in ("zfspool", "lvmthin"):
        raise failure(f"Linked clone feature for '{fields['volume']}' is not available")


@route("POST", "/nodes/{node}/qemu/{vmid}/clone")
def clone_machine(call: Call) -> str:
    pve, vmid, newid = call.pve, call.vmid, int(call["newid"])
    common.check_pool(pve, call.get("pool"))
    if call.has("storage"):
        config = volumes.enabled_storage(pve, str(call["storage"]))
        if "images" not in volumes.contents(config):
            raise bad(storage=f"storage '{call['storage']}' does not support vm images")
    conf = pve.conf(vmid, "qemu")
    common.check_lock(conf)
    full, values = _is_full(call, conf), _source(call, conf)
    drives = _check_drives(call, values, full)
    qemu_config.check_bridges(call, values)
    if pve.guests.get(newid):
        raise failure(f"unable to create VM {newid}: config file already exists")
    new = _machine_copy(call, values, newid)
    pve.guests.save(new)

    def work(log: Log) -> None:
        try:
            log(f"creating a clone of VM {vmid} with ID {newid}")
            with pve.lock(vmid, "qemu", log, "lock" in call.faults):
                for key, fields in sorted(drives.items()):
                    source = str(fields["file"])
                    label = "cloudinit" if qemu_config.is_cloudinit(fields) else ""
                    log(f"create {'full' if full else 'linked'} clone of drive {key} ({source})")
                    sid = str(call.get("storage") or volumes.split(source)[0])
                    fields["file"] = volumes.allocate(call, sid, newid, volumes.size_of(pve, source), label=label)
                    new.values[key] = qemu_config.print_drive(fields)
                pve.backend.clone(pve.spec(conf), pve.spec(new), log)
            _finish(call, new, log, "qemu")
        except (ApiError, TaskError, BackendError) as error:
            _undo(call, new, log)
            raise TaskError(f"clone failed: {error.text if isinstance(error, ApiError) else error}") from error

    return call.start("qmclone", vmid, work)


def _check_drives(call: Call, values: Values, full: bool) -> dict[str, qemu_config.Fields]:
    found: dict[str, qemu_config.Fields] = {}
    of = " a snapshot of" if call.has("snapname") else ""
    for key in sorted(k for k in values if qemu_config.is_drive(k)):
        fields = qemu_config.parse_drive(key, values[key]) or {}
        if qemu_config.is_cdrom(fields) and not qemu_config.is_cloudinit(fields):
            continue
        volid = str(fields["file"])
        _target_storage(call, volid)
        config = volumes.storage(call.pve, volumes.split(volid)[0])
        linked = full or qemu_config.is_cloudinit(fields) or config["type"] in ("zfspool", "lvmthin", "dir")
        if not linked:
            raise failure(f"Linked clone feature is not supported for{of} '{volid}' ({key})")
        found[key] = fields
    return found


def _machine_copy(call: Call, values: Values, newid: int) -> GuestConf:
    new = GuestConf(newid, "qemu", {"lock": "clone"})
    for key, value in values.items():
        if re.fullmatch(r"net\d+", key):
            net = {k: v for k, v in qemu_config.parse_net(value).items() if k != "macaddr"}
            new.values[key] = qemu_config.print_net(call, ",".join(f"{k}={v}" for k, v in net.items()))
        elif not SKIPPED.fullmatch(key):
            new.values[key] = value
    rest = [p for p in new.values.get("smbios1", "").split(",") if p and not p.startswith("uuid=")]
    new.values["smbios1"] = ",".join([*rest, f"uuid={uuid.uuid4()}"])
    if "vmgenid" in new.values:
        new.values["vmgenid"] = str(uuid.uuid4())
    new.values["name"] = str(call.get("name") or f"Copy-of-VM-{values.get('name', call.vmid)}")
    if call.get("description"):
        new.values["description"] = str(call["description"])
    return new
