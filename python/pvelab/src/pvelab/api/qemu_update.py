"""Changing a virtual machine's configuration, with what PVE checks, rewrites and postpones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable

from . import common, qemu_config, qemu_disks
from .errors import VERIFICATION, ApiError, bad, failure, refuse_if
from .guestconf import GuestConf
from .qemu_access import check_device
from .qemu_checks import check_machine, check_vga
from .qemu_hotplug import windows
from .qemu_pending import apply_pending
from .registry import Call

CHANGED = "checksum mismatch (file change by other user?)"
DEVICE = re.compile(r"(serial|usb|hostpci|rng|virtiofs)\d+")
Line = Callable[[str], None]


class Update:
    """One change of options; `check` is repeated under the guest's lock."""

    def __init__(self, call: Call) -> None:
        self.call, self.vmid = call, call.vmid
        refuse_if(call.flag("skiplock") and not call.is_root, bad(skiplock="Only root may use this option."))
        self.new = {k: str(v) for k, v in call.params.items() if k not in qemu_config.NOT_OPTIONS}
        delete, revert = call.words("delete"), call.words("revert")
        qemu_config.check_ssh_keys(self.new)
        self.empty = {key for key in call.emptied if key not in qemu_config.NOT_OPTIONS and qemu_config.is_option(key)}
        refuse_if(not self.new and not self.empty and not delete and not revert, "no options specified")
        for key in sorted(self.empty):
            refuse_if(qemu_config.is_drive(key), bad(**{key: "unable to parse drive options"}))
        qemu_config.resolve_cdrom(self.new)
        self.delete = ["ide2" if key == "cdrom" else key for key in delete]
        self.revert = revert
        self._check_sets()
        qemu_config.clean(call, self.new, create=False)
        qemu_config.check_modify(call, self.vmid, None, self.delete)
        qemu_config.check_modify(call, self.vmid, None, [*self.new, *self.empty])
        qemu_config.check_storage(call, self.vmid, self.new, None)
        qemu_config.check_bridges(call, self.new)

    def _check_sets(self) -> None:
        for key in self.revert:
            refuse_if(not qemu_config.is_option(key), bad(revert=f"unknown option '{key}'"))
            refuse_if(key in self.new, bad(delete=f"you can't use '-{key}' and -revert {key}' at the same time"))
        for key in self.delete:
            refuse_if(key in self.new, bad(delete=f"you can't use '-{key}' and -delete {key}' at the same time"))
            if key in self.revert:
                raise bad(revert=f"you can't use '-delete {key}' and -revert {key}' at the same time")
            refuse_if(not qemu_config.is_option(key), bad(delete=f"unknown option '{key}'"))

    def check(self) -> GuestConf:
        """The current configuration, if it may be changed."""
        conf = self.call.pve.conf(self.vmid, "qemu")
        self.call.check_digest(conf.digest, CHANGED)
        if not self.call.flag("skiplock"):
            common.check_lock(conf)
        qemu_config.check_memory(conf, self.new)
        return conf

    def run(self, log: Line) -> None:
        """Applies the change (under the guest's lock) and stores the result."""
        conf = self.check().copy()
        check_values(self.empty)
        new, delete = dict(self.new), list(self.delete)
        for key in self.revert:
            if key in conf.values:
                new[key] = conf.values[key]
            elif key in conf.pending:
                delete.append(key)
        if "tags" in self.empty:
            new["tags"] = ""
        touched: set[str] = set()
        for key in delete:
            self._delete(conf, key, touched, log)
        for key in sorted(new):
            if conf.pending.get(key) != new[key]:
                self._set(conf, key, new, log)
                conf.deleted.pop(key, None)
            touched.add(key)
        conf.drop_settled()
        errors: dict[str, str] = {}
        apply_pending(self.call, conf, touched, self.call.pve.running(self.vmid), errors)
        self.call.pve.guests.save(conf)
        refuse_if(errors, ApiError(400, VERIFICATION, errors))

    def _delete(self, conf: GuestConf, key: str, touched: set[str], log: Line) -> None:
        value = conf.values.get(key, conf.pending.get(key))
        if value is None:
            log(f"cannot delete '{key}' - not set in current configuration!")
            return
        touched.add(key)
        waiting = conf.pending.pop(key, None)
        order = qemu_config.boot_order(conf.merged)
        if key in order:
            conf.pending["boot"] = qemu_config.print_boot([d for d in order if d != key])
            touched.add("boot")
        if key.startswith("unused"):
            common.check_protection(conf, f"can't remove unused disk '{value}'")
            common.check_vm(self.call, self.vmid, None, "VM.Config.Disk")
            qemu_disks.dispose(self.call, conf, key, value.partition(",")[0])
            conf.values.pop(key, None)
            return
        if qemu_config.is_drive(key):
            common.check_protection(conf, f"can't remove drive '{key}'")
            qemu_config.check_drive_change(self.call, self.vmid, key, value)
            if waiting is not None:
                qemu_disks.unplug(self.call.pve, conf, key, waiting)
        elif DEVICE.fullmatch(key):
            check_device(self.call, self.vmid, None, key, value, "delete")
        elif key == "tags":
            self.call.check(f"/vms/{self.vmid}", "VM.Config.Options")
            conf.values.pop(key, None)
            return
        elif re.fullmatch(r"net\d+", key) and key in conf.values:
            qemu_config.check_bridges(self.call, {key: conf.values[key]})
        if key in conf.values:
            conf.deleted[key] = self.call.flag("force")

    def _set(self, conf: GuestConf, key: str, new: dict[str, str], log: Line) -> None:
        value, old = new[key], conf.values.get(key)
        if qemu_config.is_drive(key):
            self._set_drive(conf, key, value, log)
            return
        if DEVICE.fullmatch(key):
            if old is not None:
                check_device(self.call, self.vmid, None, key, old, "modify")
            check_device(self.call, self.vmid, None, key, value, "modify" if key.startswith("serial") else "set")
        elif key == "tags":
            self.call.check(f"/vms/{self.vmid}", "VM.Config.Options")
            value = common.unique_tags(value) or common.NO_TAGS
        elif re.fullmatch(r"net\d+", key) and old is not None:
            qemu_config.check_bridges(self.call, {key: old})
        elif key == "cipassword":
            conf.values[key] = value if windows(conf.values.get("ostype")) else hashed(value)
            return
        elif key == "vga":
            check_vga(value)
        elif key == "machine":
            check_machine(value)
        elif key == "boot":
            value = self._checked_boot(conf, value, new)
        elif key == "ostype" and windows(value):
            machine = conf.pending.get("machine", conf.values.get("machine"))
            if not {"machine"} & {*new, *self.delete}:
                conf.pending["machine"] = pinned_machine(machine)
        conf.pending[key] = value

    def _checked_boot(self, conf: GuestConf, value: str, new: dict[str, str]) -> str:
        devices = qemu_config.boot_order({"boot": value})
        for device in devices:
            if device in self.delete or not (device in conf.merged or device in new):
                raise failure(f"invalid bootorder: device '{device}' does not exist'")
        if devices and "bootdisk" in conf.values:
            conf.deleted["bootdisk"] = False
        return qemu_config.print_boot(devices) if devices else value

    def _set_drive(self, conf: GuestConf, key: str, value: str, log: Line) -> None:
        if key in conf.values:
            qemu_config.check_drive_change(self.call, self.vmid, key, conf.values[key])
            _check_tpm(key, conf.values[key], value)
        qemu_config.check_drive_change(self.call, self.vmid, key, value)
        if key in conf.pending:
            qemu_disks.unplug(self.call.pve, conf, key, conf.pending[key])
        made, _, _ = qemu_disks.make(self.call, conf, {key: value}, None, log)
        conf.pending |= made
        order = qemu_config.boot_order(conf.merged)
        if order and key not in order and qemu_config.is_cdrom(qemu_config.parse_drive(key, made[key]) or {}):
            conf.pending["boot"] = qemu_config.print_boot([*order, key])


def check_values(empty: Iterable[str]) -> None:
    """Raises what PVE says, when it writes the file, of options that were sent without a value."""
    for key in sorted(empty):
        refuse_if(key not in ("description", "tags"), f"unable to parse value of '{key}' - got undefined value")


def hashed(password: str) -> str:
    """A cloud-init password as it is kept: hashed, unless it is a hash already."""
    if re.match(r"\$(?:[156]|2[ay])(\$.+){2}", password):
        return password
    salt = hashlib.sha256(password.encode()).hexdigest()[:8]
    return f"$5${salt}${hashlib.sha256((salt + password).encode()).hexdigest()[:43]}"


def _check_tpm(key: str, old: str, new: str) -> None:
    before, after = qemu_config.parse_drive(key, old) or {}, qemu_config.parse_drive(key, new) or {}
    versions = {fields.get("version", "v1.2") for fields in (before, after)}
    if key == "tpmstate0" and before.get("file") == after.get("file") and len(versions) > 1:
        raise failure("cannot change TPM state version after creation")


def pinned_machine(text: str | None) -> str:
    """The machine type that a Windows guest keeps: a moving one is pinned to the newest version."""
    kind = (text or "").removeprefix("type=")
    first, comma, rest = kind.partition(",")
    pinned = {"": "pc-i440fx-10.1+pve0", "pc": "pc-i440fx-10.1+pve0", "q35": "pc-q35-10.1+pve0"}.get(first, first)
    return f"{pinned}{comma}{rest}"


def synchronous(call: Call, log: Line | None = None) -> None:
    """PUT config: all under the lock, in the call; a task that makes it shows its lines."""
    update = Update(call)
    update.check()
    with call.pve.lock(update.vmid, "qemu", held="lock" in call.faults):
        if log:
            log(f"update VM {update.vmid}: {_command(update)}")
        update.run(log or (lambda line: None))


def in_background(call: Call) -> str | None:
    """POST config: checks in the call, the change in a task."""
    update = Update(call)
    update.check()

    def work(log: Line) -> None:
        with call.pve.lock(update.vmid, "qemu", log, "lock" in call.faults):
            log(f"update VM {update.vmid}: {_command(update)}")
            update.run(log)

    upid = call.start("qmconfig", update.vmid, work)
    task = call.pve.tasks.all.get(upid)
    if call.number("background_delay") and task and task.done.wait(call.number("background_delay")):
        refuse_if(task.status != "OK", f"failed to update VM {update.vmid}: {task.status}")
        return None
    return upid


def _command(update: Update) -> str:
    skipped = ("node", "vmid", "digest", "background_delay", "skip_cloud_init", "import-working-storage")
    params = {k: v for k, v in update.call.params.items() if k not in skipped}
    return " ".join(f"-{k} {'<hidden>' if k == 'cipassword' else v}" for k, v in sorted(params.items()))
