"""Clones of containers and virtual machines, full and linked."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import common, guest_removal, lxc_config, qemu_access, qemu_config, volume_features, volumes
from ..errors import FAILURES, bad, existing, failure, refuse_if
from ..guestconf import GuestConf, Values
from ..qemu_checks import check_exists
from ..registry import Call, route
from ..schema import parse_property_string, print_property_string
from ..surface import named_format
from ..tasks import Log

SKIPPED = re.compile(
    r"unused\d+|parent|snaptime|snapstate|vmstate|runningcpu|runningmachine|running-nets-host-mtu|template|lock"
)
CLOUD_SIZE = 4 << 20
Disk = tuple[str, dict[str, Any], str]


def _checked(call: Call) -> tuple[GuestConf, Values, bool]:
    """What both kinds look at first: the source, its values now or of a snapshot, and whether all is copied."""
    pve, target, name = call.pve, call.get("target"), call.get("snapname")
    common.check_pool(pve, call.get("pool"))
    refuse_if(target and target not in (pve.node.name, "localhost"), f"no such cluster node '{target}'")
    if call.has("storage"):
        config = volumes.enabled_storage(pve, str(call["storage"]))
        wrong = call.kind == "qemu" and "images" not in volumes.contents(config)
        refuse_if(wrong, bad(storage=f"storage '{call.get('storage')}' does not support vm images"))
    conf = call.conf
    common.check_lock(conf)
    if call.kind == "lxc":
        common.check_unused_vmid(pve, int(call["newid"]))
    full = call.flag("full", default=not common.is_template(conf))
    linked = [o for o in ("storage", "format") if call.has(o) and not full]
    snapshot = existing(conf.snapshots.get(name), f"snapshot '{name}' does not exist") if name else None
    refuse_if(linked, f"parameter '{''.join(linked[:1])}' not allowed for linked clones")
    return conf, conf.values if snapshot is None else snapshot, full


def _check_storage(call: Call, volid: str) -> None:
    sid = str(call.get("storage") or volumes.split(volid)[0])
    volumes.storage(call.pve, sid)
    call.check(f"/storage/{sid}", "Datastore.AllocateSpace")


@contextmanager
def _undone(call: Call, new: GuestConf, log: Log) -> Iterator[list[str]]:
    """Gives a list for new volumes; where the work fails they go with all else that is new."""
    fresh: list[str] = []
    try:
        yield fresh
        new.values.pop("lock", None)
        call.pve.guests.save(new)
        common.add_to_pool(call.pve, new.vmid, call.get("pool"))
    except FAILURES as error:
        guest_removal.discard(call.pve, new, fresh, log)
        common.forget_access(call.pve, new.vmid)
        raise failure(f"clone failed: {error}") from error


# --- containers


@route("POST", "/nodes/{node}/lxc/{vmid}/clone")
def clone_container(call: Call) -> str:
    """Clones a container in a task; the source is locked meanwhile."""
    pve, vmid, newid = call.pve, call.vmid, int(call["newid"])
    conf, values, full = _checked(call)
    new, disks = _container_copy(call, values, newid, full)
    with call.locked():
        common.set_lock(pve, vmid, "disk")
    pve.guests.save(new)  # takes the VMID: it holds only a lock and what is no disk

    def work(log: Log) -> None:
        log(f"creating a clone of container {vmid} with ID {newid}")
        try:
            with _undone(call, new, log) as fresh:
                volumes.activate(pve, *(volid for _, _, volid in disks))
                for disk in disks:
                    new.values[disk[0]] = _copy_mount(call, disk, full, fresh, log)
                pve.backend.clone(pve.spec(conf), pve.spec(new), log)
                for line in pve.backend.host_keys(pve.spec(new)):
                    log(line)
        finally:
            with pve.lock(vmid, "lxc"):
                common.set_lock(pve, vmid, None)

    return call.start("vzclone", vmid, work)


def _container_copy(call: Call, values: Values, newid: int, full: bool) -> tuple[GuestConf, list[Disk]]:
    new, disks = GuestConf(newid, "lxc", {"lock": "create"}), list(volume_features.each("lxc", values))
    running = call.pve.running(call.vmid)
    for key, value in sorted(values.items()):
        if lxc_config.VOLUME.fullmatch(key):
            fields = lxc_config.parse_volume(key, value)
            _check_mount(call, key, fields, full, running)
        elif re.fullmatch(r"net\d+", key):
            net = lxc_config.parse_net(value)
            common.check_bridge(call, net.get("bridge"), net.get("tag"), net.get("trunks"))
            new.values[key] = lxc_config.print_net(value, fresh=True)
        elif not SKIPPED.fullmatch(key):
            new.values[key] = value
    for key in ("hostname", "description"):
        if call.get(key):
            new.values[key] = str(call[key])
    return new, disks


def _check_mount(call: Call, key: str, fields: dict[str, Any], full: bool, running: bool) -> None:
    refuse_if(fields["type"] != "volume", f"unable to clone mountpoint '{key}' (type {fields['type']})")
    volid = str(fields["volume"])
    _check_storage(call, volid)
    if full:
        if running and not call.has("snapname"):
            raise failure("Full clone of a running container is only possible from a snapshot")
    elif not volume_features.has(call.pve, "clone", volid, call.get("snapname"), container=True):
        raise failure(f"Linked clone feature for '{volid}' is not available")


def _copy_mount(call: Call, disk: Disk, full: bool, fresh: list[str], log: Log) -> str:
    key, fields, source = disk
    if full:
        log(f"create full clone of mountpoint {key} ({source})")
        sid, size = str(call.get("storage") or volumes.split(source)[0]), volumes.size_of(call.pve, source)
        fresh.append(volumes.allocate(call, sid, int(call["newid"]), size, container=True))
        fields = {**fields, "size": size}
    else:
        log(f"create linked clone of mount point {key} ({source})")
        fresh.append(volume_features.link(call.pve, source, int(call["newid"])))
    return volume_features.printed("lxc", key, fields, fresh[-1])


# --- virtual machines


@route("POST", "/nodes/{node}/qemu/{vmid}/clone")
def clone_machine(call: Call) -> str:
    """Clones a virtual machine in a task."""
    pve, vmid, newid = call.pve, call.vmid, int(call["newid"])
    check_exists(pve, vmid)
    conf, values, full = _checked(call)
    disks = _drives(values)
    for _, fields, volid in disks:
        if not qemu_config.is_cloudinit(fields):
            _check_storage(call, volid)
    if "vmstatestorage" in values:
        call.check(f"/storage/{values['vmstatestorage']}", "Datastore.AllocateSpace")
    qemu_access.check_mappings(call, values)
    qemu_config.check_bridges(call, values)
    refuse_if(pve.guests.get(newid), f"unable to create VM {newid}: config file already exists")
    _check_disks(call, disks, full)
    new = _machine_copy(call, values, newid)
    pve.guests.save(new)  # takes the VMID: it holds only a lock and what is no disk

    def work(log: Log) -> None:
        with _undone(call, new, log) as fresh:
            log(f"creating a clone of VM {vmid} with ID {newid}")
            with call.locked(log):
                volumes.activate(pve, *(volid for _, fields, volid in disks if not qemu_config.is_cloudinit(fields)))
                for disk in disks:
                    new.values[disk[0]] = _copy_drive(call, disk, full, fresh, log)
                pve.backend.clone(pve.spec(conf), pve.spec(new), log)

    return call.start("qmclone", vmid, work)


def _drives(values: Values) -> list[Disk]:
    found: list[Disk] = []
    for key in sorted(k for k in values if qemu_config.is_drive(k)):
        fields = existing(qemu_config.parse_drive(key, values[key]), f"unable to parse drive options for '{key}'")
        if not qemu_config.is_cdrom(fields) or qemu_config.is_cloudinit(fields):
            found.append((key, fields, str(fields["file"])))
    return found


def _copied(disk: Disk, full: bool) -> bool:
    return full or qemu_config.is_cloudinit(disk[1]) or disk[0] == "tpmstate0"


def _check_disks(call: Call, disks: list[Disk], full: bool) -> None:
    name = call.get("snapname")
    for disk in disks:
        key, _, volid = disk
        of = " a snapshot of" if name else ""
        if full and call.pve.running(call.vmid) and not name and key == "tpmstate0":
            raise failure("cannot clone TPM state while VM is running")
        word, feature = ("Full", "copy") if _copied(disk, full) else ("Linked", "clone")
        if not volume_features.has(call.pve, feature, volid, name):
            raise failure(f"{word} clone feature is not supported for{of} '{volid}' ({key})")


def _copy_drive(call: Call, disk: Disk, full: bool, fresh: list[str], log: Log) -> str:
    key, fields, source = disk
    pve, newid, whole = call.pve, int(call["newid"]), _copied(disk, full)
    log(f"create {'full' if whole else 'linked'} clone of drive {key} ({source})")
    if whole:
        sid = str(call.get("storage") or volumes.split(source)[0])
        cloud = qemu_config.is_cloudinit(fields)
        size = CLOUD_SIZE if cloud else volumes.size_of(pve, source)
        hint = call.get("format") or volume_features.format_of(pve, source)
        kind = volume_features.picked_format(pve, sid, str(hint))
        if call.has("format") and call["format"] != kind:
            log(f"format '{call['format']}' is not supported by the target storage '{sid}' - using '{kind}' instead")
        fresh.append(volumes.allocate(call, sid, newid, size, label="cloudinit" if cloud else "", kind=kind))
        log(f"allocated target volume '{fresh[-1]}'")
        if not cloud:
            volume_features.say_copied(size, log)
    else:
        fresh.append(volume_features.link(pve, source, newid))
        size = volumes.size_of(pve, fresh[-1])
    known = {k: v for k, v in fields.items() if k != "format"}
    return qemu_config.print_drive({**known, "file": fresh[-1], "size": size})


def _machine_copy(call: Call, values: Values, newid: int) -> GuestConf:
    new = GuestConf(newid, "qemu", {"lock": "clone"})
    for key, value in values.items():
        if re.fullmatch(r"net\d+", key):
            new.values[key] = qemu_config.print_net(value, fresh=True)
        elif not SKIPPED.fullmatch(key):
            new.values[key] = value
    known = named_format("pve-qm-smbios1") or {}
    smbios = {**parse_property_string(known, new.values.get("smbios1", "")), "uuid": str(uuid.uuid4())}
    new.values["smbios1"] = print_property_string(known, smbios)
    if "vmgenid" in new.values:
        new.values["vmgenid"] = str(uuid.uuid4())
    new.values["name"] = str(call.get("name") or f"Copy-of-VM-{values.get('name', call.vmid)}")
    if call.get("description"):
        new.values["description"] = str(call["description"])
    return new
