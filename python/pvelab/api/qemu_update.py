"""Changing a virtual machine's configuration, with what PVE checks, rewrites and postpones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from . import common, qemu_disks, volumes
from .errors import bad, failure
from .guestconf import GuestConf
from .qemu_config import (
    FASTPLUG,
    LIVE,
    NOT_OPTIONS,
    boot_order,
    check_bridges,
    check_device,
    check_drive_change,
    check_memory,
    check_modify,
    check_storage,
    clean,
    is_cdrom,
    is_cloudinit,
    is_drive,
    is_option,
    parse_drive,
    print_boot,
)
from .registry import Call
from .words import split_list

DEVICE = re.compile(r"(serial|usb|hostpci|rng|virtiofs)\d+")
Line = Callable[[str], None]


class Update:
    """One change of options; `check` is repeated under the guest's lock."""

    def __init__(self, call: Call) -> None:
        self.call, self.vmid = call, call.vmid
        if call.flag("skiplock") and not call.is_root:
            raise bad(skiplock="Only root may use this option.")
        self.new = {k: str(v) for k, v in call.params.items() if k not in NOT_OPTIONS}
        delete, revert = split_list(str(call.get("delete", ""))), split_list(str(call.get("revert", "")))
        if not self.new and not delete and not revert:
            raise failure("no options specified")
        self.delete = ["ide2" if key == "cdrom" else key for key in delete]
        self.revert = revert
        self._check_sets()
        clean(call, self.new, create=False)
        check_modify(call, self.vmid, None, self.delete)
        check_modify(call, self.vmid, None, list(self.new))
        check_storage(call, self.vmid, self.new, None)
        check_bridges(call, self.new)

    def _check_sets(self) -> None:
        for key in self.revert:
            if not is_option(key):
                raise bad(revert=f"unknown option '{key}'")
            if key in self.new:
                raise bad(delete=f"you can't use '-{key}' and -revert {key}' at the same time")
        for key in self.delete:
            if key in self.new:
                raise bad(delete=f"you can't use '-{key}' and -delete {key}' at the same time")
            if key in self.revert:
                raise bad(revert=f"you can't use '-delete {key}' and -revert {key}' at the same time")
            if not is_option(key):
                raise bad(delete=f"unknown option '{key}'")

    def check(self) -> GuestConf:
        """The current configuration, if it may be changed."""
        conf = self.call.pve.conf(self.vmid, "qemu")
        if self.call.has("digest") and self.call["digest"] != conf.digest:
            raise failure("checksum mismatch (file change by other user?)")
        if not self.call.flag("skiplock"):
            common.check_lock(conf)
        check_memory(conf, self.new)
        return conf

    def run(self, log: Line) -> None:
        """Applies the change (under the guest's lock) and stores the result."""
        conf = self.check().copy()
        new, delete = dict(self.new), list(self.delete)
        for key in self.revert:
            if key in conf.values:
                new[key] = conf.values[key]
            elif key in conf.pending:
                delete.append(key)
        touched: set[str] = set()
        for key in delete:
            self._delete(conf, key, touched)
        for key in sorted(new):
            if conf.pending.get(key) != new[key]:
                self._set(conf, key, new, log)
                conf.deleted.pop(key, None)
            touched.add(key)
        _cleanup(conf)
        running = self.call.pve.running(self.vmid)
        apply_pending(self.call, conf, touched if running else None, running)
        self.call.pve.guests.save(conf)

    def _delete(self, conf: GuestConf, key: str, touched: set[str]) -> None:
        value = conf.values.get(key, conf.pending.get(key))
        if value is None:
            return
        touched.add(key)
        waiting = conf.pending.pop(key, None)
        order = boot_order(conf.merged)
        if key in order:
            conf.pending["boot"] = print_boot([d for d in order if d != key])
            touched.add("boot")
        if key.startswith("unused"):
            common.check_protection(conf, f"can't remove unused disk '{value}'")
            common.check_vm(self.call, self.vmid, None, "VM.Config.Disk")
            volumes.release(self.call.pve, value.partition(",")[0])
            conf.values.pop(key, None)
            return
        if is_drive(key):
            common.check_protection(conf, f"can't remove drive '{key}'")
            check_drive_change(self.call, self.vmid, key, value)
            if waiting is not None:
                qemu_disks.unplug(conf, key, waiting)
        elif DEVICE.fullmatch(key):
            check_device(self.call, self.vmid, None, key, value, "delete")
        elif key == "tags":
            common.check_tags(self.call, self.vmid, value, "")
            conf.values.pop(key, None)
            return
        elif re.fullmatch(r"net\d+", key) and key in conf.values:
            check_bridges(self.call, {key: conf.values[key]})
        if key in conf.values:
            conf.deleted[key] = self.call.flag("force")

    def _set(self, conf: GuestConf, key: str, new: dict[str, str], log: Line) -> None:
        value, old = new[key], conf.values.get(key)
        if is_drive(key):
            self._set_drive(conf, key, value, log)
            return
        if DEVICE.fullmatch(key):
            if old is not None:
                check_device(self.call, self.vmid, None, key, old, "modify")
            check_device(self.call, self.vmid, None, key, value, "modify" if key.startswith("serial") else "set")
        elif key == "tags":
            common.check_tags(self.call, self.vmid, old, value)
            value = common.unique_tags(self.call.pve, value)
        elif re.fullmatch(r"net\d+", key) and old is not None:
            check_bridges(self.call, {key: old})
        elif key == "cipassword":
            conf.values[key] = hashed(value)
            return
        elif key == "boot":
            self._check_boot(conf, value, new)
        conf.pending[key] = value

    def _check_boot(self, conf: GuestConf, value: str, new: dict[str, str]) -> None:
        for device in boot_order({"boot": value}):
            if device in self.delete or not (device in conf.merged or device in new):
                raise failure(f"invalid bootorder: device '{device}' does not exist'")

    def _set_drive(self, conf: GuestConf, key: str, value: str, log: Line) -> None:
        if key in conf.values:
            check_drive_change(self.call, self.vmid, key, conf.values[key])
        check_drive_change(self.call, self.vmid, key, value)
        if key in conf.pending:
            qemu_disks.unplug(conf, key, conf.pending[key])
        made, _, _ = qemu_disks.make(self.call, conf, {key: value}, None, log)
        conf.pending |= made
        order = boot_order(conf.merged)
        if order and key not in order and is_cdrom(parse_drive(key, made[key]) or {}):
            conf.pending["boot"] = print_boot([*order, key])


def hashed(password: str) -> str:
    """A cloud-init password as it is kept: hashed, unless it is a hash already."""
    if re.match(r"\$(?:[156]|2[ay])(\$.+){2}", password):
        return password
    salt = hashlib.sha256(password.encode()).hexdigest()[:8]
    return f"$5${salt}${hashlib.sha256((salt + password).encode()).hexdigest()[:43]}"


def _cleanup(conf: GuestConf) -> None:
    for key in [k for k, v in conf.pending.items() if conf.values.get(k) == v]:
        del conf.pending[key]
    for key in [k for k in conf.deleted if k not in conf.values]:
        del conf.deleted[key]


def apply_pending(call: Call, conf: GuestConf, touched: set[str] | None, running: bool) -> None:
    """Makes changes current; of a running machine only those that need no restart."""
    live: set[str] = set()
    for key in sorted({*conf.pending, *conf.deleted}):
        if running and not (key in FASTPLUG or (LIVE.fullmatch(key) and (touched is None or key in touched))):
            continue
        if running and key not in FASTPLUG:
            live.add(key)
        _apply_one(call, conf, key)
    if live:
        waiting = call.pve.backend.apply(call.pve.spec(conf), live)
        for key in waiting & set(conf.values):
            conf.pending[key] = conf.values[key]


def _apply_one(call: Call, conf: GuestConf, key: str) -> None:
    old = conf.values.pop(key, None)
    value = conf.pending.pop(key, None)
    forced = conf.deleted.pop(key, False)
    if value is not None:
        conf.values[key] = value
    if old is None or not is_drive(key):
        return
    fields = parse_drive(key, old) or {}
    kept = parse_drive(key, value) if value else None
    if kept and kept.get("file") == fields.get("file"):
        return
    if forced or is_cloudinit(fields):
        volumes.release(call.pve, str(fields.get("file")))
    else:
        qemu_disks.unplug(conf, key, old)


def synchronous(call: Call) -> None:
    """PUT config: all under the lock, in the call."""
    update = Update(call)
    update.check()
    with call.pve.lock(update.vmid, "qemu", held="lock" in call.faults):
        update.run(lambda line: None)


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
        if task.status != "OK":
            raise failure(f"failed to update VM {update.vmid}: {task.status}")
        return None
    return upid


def _command(update: Update) -> str:
    params = {k: v for k, v in update.call.params.items() if k not in ("node", "vmid", "digest")}
    return " ".join(f"-{k} {'<hidden>' if k == 'cipassword' else v}" for k, v in sorted(params.items()))
