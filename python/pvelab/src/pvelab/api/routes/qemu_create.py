"""Creating a virtual machine: from options, or from a backup archive."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from .. import backups, common, guest_removal, qemu_access, qemu_config, qemu_disks, volume_features, volumes
from ..errors import FAILURES, bad_field, failure, refuse_if
from ..guestconf import GuestConf
from ..qemu_checks import check_machine, check_vga
from ..qemu_hotplug import windows
from ..qemu_update import check_values, pinned_machine
from ..registry import Call, route
from ..tasks import Log
from ..words import parse_size, truth
from .after_create import after_create
from .lxc_create import check_allocate, reserve
from .qemu import BASE, make_template

QEMU_VERSION = "10.1.2"


class Creation:
    """What a create call asks for, checked in PVE's order."""

    def __init__(self, call: Call) -> None:
        self.call, self.pve, self.vmid = call, call.pve, call.vmid
        self.new = {k: str(v) for k, v in call.params.items() if qemu_config.is_option(k)}
        self.pool, self.storage = call.get("pool"), call.get("storage")
        self.archive = call.get("archive")
        self.old = self.pve.guests.get(self.vmid)
        qemu_config.check_ssh_keys(self.new)
        common.check_pool(self.pve, self.pool)
        if self.storage is not None:
            call.check(f"/storage/{self.storage}", "Datastore.AllocateSpace")
        if call.flag("ha-managed"):
            call.check("/", "Sys.Console")
        if call.flag("start"):
            common.check_vm(call, self.vmid, self.pool, "VM.PowerMgmt")
        check_allocate(call, self.vmid, self.pool)
        if self.archive:
            self._check_archive()
        if self.new:
            self._check_options()

    def _check_archive(self) -> None:
        for key in sorted(self.new):
            refuse_if(qemu_config.is_drive(key), bad_field(key, "option conflicts with option 'archive'"))
        refuse_if(self.archive == "-", "pipe requires cli environment")
        volid = str(self.archive)
        volumes.check_access(self.call, self.vmid, volid, "backup")
        volumes.archive_file(self.pve, volid)

    def _check_options(self) -> None:
        call, vmid, pool = self.call, self.vmid, self.pool
        qemu_config.resolve_cdrom(self.new)
        qemu_config.check_storage(call, vmid, self.new, self.storage)
        qemu_config.check_modify(call, vmid, pool, list(self.new))
        for key, value in sorted(self.new.items()):
            if re.fullmatch(r"(serial|usb|hostpci|rng|virtiofs)\d+", key):
                qemu_access.check_device(call, vmid, pool, key, value)
        qemu_config.check_bridges(call, self.new)
        qemu_config.clean(call, self.new, create=True)


@route("POST", BASE)
def create(call: Call) -> str:
    asked = Creation(call)
    verb = "restore" if asked.archive else "create"
    prefix = f"unable to {verb} VM {asked.vmid} -"
    old = _overwritten(asked, prefix)
    reserve(asked.pve, asked.vmid, "qemu", old, prefix)

    def work(log: Log) -> None:
        fresh: list[str] = []
        try:
            _check_overwritten(asked, prefix)
            with asked.pve.lock(asked.vmid, "qemu", log, "lock" in call.faults):
                (_restore if asked.archive else _create)(asked, fresh, log)
        except FAILURES as error:
            if asked.archive:
                _leave(asked, fresh, log)
                raise failure(str(error)) from error
            guest_removal.discard(asked.pve, GuestConf(asked.vmid, "qemu", asked.new), fresh, log)
            raise failure(f"{prefix} {error}") from error
        after_create(call, "qemu", asked.vmid, log, bool(asked.archive))

    return call.start("qmrestore" if asked.archive else "qmcreate", asked.vmid, work)


def _leave(asked: Creation, fresh: list[str], log: Log) -> None:
    """After a failed restore PVE keeps the configuration and only takes its lock away."""
    volumes.release(asked.pve, *fresh)
    found = asked.pve.guests.get(asked.vmid)
    if found:
        asked.pve.guests.set(found, {"lock": None})
    log(
        "error before or during data restore, some or all disks were not completely restored."
        f" VM {asked.vmid} state is NOT cleaned up."
    )


def _overwritten(asked: Creation, prefix: str) -> GuestConf | None:
    """The machine that a restore replaces; any other owner of the VMID refuses the call."""
    old = asked.old
    if old is None:
        return None
    if not (asked.archive and asked.call.flag("force") and old.kind == "qemu"):
        raise failure(f"{prefix} {common.WORD[old.kind]} {asked.vmid} already exists on node '{asked.pve.node.name}'")
    return old


def _check_overwritten(asked: Creation, prefix: str) -> None:
    """What PVE looks at only in the task: whether the machine may be overwritten now."""
    if asked.old is not None:
        common.check_protection(asked.old, prefix)
        refuse_if(asked.pve.running(asked.vmid), f"{prefix} vm is running")


def _create(asked: Creation, fresh: list[str], log: Log) -> None:
    check_values(key for key in asked.call.emptied if qemu_config.is_option(key))
    call, conf = asked.call, GuestConf(asked.vmid, "qemu", dict(asked.new))
    made, volids, source = qemu_disks.make(call, conf, asked.new, asked.storage, log)
    fresh += volids
    conf.values = {**asked.new, **made}
    conf.values["meta"] = f"creation-qemu={QEMU_VERSION},ctime={int(time.time())}"
    conf.values.setdefault("boot", qemu_config.print_boot(qemu_config.boot_devices(conf.values)))
    check_vga(conf.values.get("vga"))
    conf.values.setdefault("smbios1", f"uuid={uuid.uuid4()}")
    conf.values.setdefault("vmgenid", str(uuid.uuid4()))
    if windows(conf.values.get("ostype")) and pinned_machine(conf.values.get("machine")) != conf.values.get("machine"):
        conf.values["machine"] = pinned_machine(conf.values.get("machine"))
        log(f"pinning machine type to '{conf.values['machine'].partition(',')[0]}' for Windows guest OS")
    check_machine(conf.values.get("machine"))
    if "tags" in conf.values:
        call.check(f"/vms/{asked.vmid}", "VM.Config.Options")
        conf.values["tags"] = common.unique_tags(conf.values["tags"])
    asked.pve.backend.create(asked.pve.spec(conf), source, log)
    asked.pve.guests.save(conf)
    common.add_to_pool(asked.pve, asked.vmid, asked.pool)


def _restore(asked: Creation, fresh: list[str], log: Log) -> None:
    call, volid = asked.call, str(asked.archive)
    archive = volumes.archive_file(asked.pve, volid)
    saved = backups.read_config(asked.pve, archive, asked.vmid, "qemu")
    conf = GuestConf(asked.vmid, "qemu")
    log(f"restore vma archive: {archive.name}")
    if asked.old is not None:
        asked.pve.backend.destroy(asked.pve.spec(asked.old), log)
        volumes.release(asked.pve, *volume_features.referenced(asked.old))
        asked.old = None
    for key, value in sorted(saved.items()):
        fields = qemu_config.parse_drive(key, value) if qemu_config.is_drive(key) else None
        if fields is not None:
            if fields.get("backup") != "0":
                conf.values[key] = _restored_drive(asked, fields, fresh)
        elif not key.startswith("unused") and key not in ("parent", "lock"):
            conf.values[key] = value
    if conf.values.get("vmgenid", "0") != "0":
        conf.values["vmgenid"] = str(uuid.uuid4())
    if call.flag("unique") and "smbios1" in conf.values:
        conf.values["smbios1"] = re.sub(r"uuid=[^,]*", f"uuid={uuid.uuid4()}", conf.values["smbios1"])
    for key in [k for k in conf.values if re.fullmatch(r"net\d+", k)] if call.flag("unique") else ():
        conf.values[key] = qemu_config.print_net(conf.values[key], fresh=True)
    conf.values |= asked.new
    if truth(conf.values.get("template")):
        log("Convert to template.")
        make_template(asked.pve, conf)
    asked.pve.backend.create(asked.pve.spec(conf), archive, log)
    asked.pve.guests.save(conf)
    common.add_to_pool(asked.pve, asked.vmid, asked.pool)


def _restored_drive(asked: Creation, fields: dict[str, Any], fresh: list[str]) -> str:
    file = str(fields["file"])
    if qemu_config.is_cdrom(fields) and not qemu_config.is_cloudinit(fields):
        return qemu_config.print_drive(fields)
    sid = asked.storage or volumes.split(file)[0]
    label = "cloudinit" if qemu_config.is_cloudinit(fields) else ""
    size = fields.get("size") or parse_size("4M") or 0
    hint = file.rpartition(".")[2] if volumes.storage(asked.pve, sid)["type"] in volumes.FILE_BASED else None
    kind = volume_features.picked_format(asked.pve, sid, str(fields.pop("format", hint)))
    fields["file"] = volumes.allocate(asked.call, sid, asked.vmid, int(size), label=label, kind=kind)
    fresh.append(fields["file"])
    return qemu_config.print_drive(fields)
