"""Creating a container: from a template or from a backup archive."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ...backend import GuestSpec
from .. import backups, common, guest_removal, lxc_config, lxc_update, templates, volume_features, volumes
from ..errors import FAILURES, bad, denied, failure, refuse_if
from ..guestconf import GuestConf, Values
from ..pve import Pve
from ..registry import Call, route
from ..storage_paths import shown_path
from ..tasks import Log
from ..words import parse_size, truth
from .after_create import after_create
from .lxc import make_template


class Creation:
    """What a create call asks for, checked in PVE's order."""

    def __init__(self, call: Call) -> None:
        self.call, self.pve, self.vmid = call, call.pve, call.vmid
        self.restore = call.flag("restore")
        self.fresh: list[str] = []  # volumes made by this creation
        self.storage = str(call.get("storage", "local"))
        self.old = self.pve.guests.get(self.vmid)
        self.unprivileged = call.flag("unprivileged", default=not self.restore)
        if not self.restore and not self.unprivileged:
            call.check("/", "Sys.Modify")
        if call.flag("ha-managed"):
            call.check("/", "Sys.Console")
        self._check_vmid()
        common.check_keys(call.get("ssh-public-keys"))
        self.pool = call.get("pool")
        common.check_pool(self.pve, self.pool)
        check_allocate(call, self.vmid, self.pool)
        self.options = {k: str(v) for k, v in call.params.items() if lxc_config.is_option(k) and k != "unprivileged"}
        lxc_config.check_modify(call, self.vmid, self.pool, None, self.options, [], self.unprivileged)
        self.archive = str(call["ostemplate"])
        refuse_if(self.archive == "-", "pipe requires cli environment")
        volumes.check_access(call, self.vmid, self.archive, "backup" if self.restore else "vztmpl")
        self._check_volumes()
        self.conf = self._configured()

    def _check_vmid(self) -> None:
        overwrite = self.old is not None and self.old.kind == "lxc" and self.restore and self.call.flag("force")
        if not overwrite or self.old is None:
            common.check_unused_vmid(self.pve, self.vmid)
            return
        refuse_if(self.pve.running(self.vmid), "can't overwrite running container")
        common.check_protection(self.old, f"unable to restore CT {self.vmid}")

    def _check_volumes(self) -> None:
        self.disks = {k: v for k, v in self.options.items() if lxc_config.VOLUME.fullmatch(k)}
        for key, value in self.disks.items():
            if re.fullmatch(r"\d+(\.\d+)?", value):
                self.disks[key] = f"{self.storage}:{value}"
        refuse_if(self.disks and "rootfs" not in self.disks, "mount points configured, but 'rootfs' not set - aborting")
        for key, value in self.disks.items():
            fields = lxc_config.parse_volume(key, value)
            if fields["type"] != "volume":
                refuse_if(not self.call.is_root, "Only root can pass arbitrary filesystem paths.")
                continue
            self._check_storage(volumes.split(fields["volume"])[0])
        if "rootfs" not in self.disks:
            self._check_storage(self.storage)

    def _check_storage(self, sid: str) -> None:
        if "rootdir" not in volumes.contents(volumes.enabled_storage(self.pve, sid)):
            raise bad(storage=f"storage '{sid}' does not support container directories")
        self.call.check(f"/storage/{sid}", "Datastore.AllocateSpace")

    def _configured(self) -> GuestConf:
        plain = {k: v for k, v in self.options.items() if k not in self.disks and not k.startswith("unused")}
        conf = lxc_update.update(self.call, GuestConf(self.vmid, "lxc"), plain, [], [], False)
        if self.unprivileged:
            conf.values["unprivileged"] = "1"
        return conf


def check_allocate(call: Call, vmid: int, pool: str | None) -> None:
    """Raises unless the caller may make this guest, in this pool."""
    if call.allowed(f"/vms/{vmid}", "VM.Allocate"):
        return
    if pool and call.allowed(f"/pool/{pool}", "VM.Allocate"):
        return
    if call.flag("force") and call.allowed(f"/vms/{vmid}", "VM.Backup"):
        return
    raise denied()


@route("POST", "/nodes/{node}/lxc")
def create(call: Call) -> str:
    asked = Creation(call)
    verb = "restore" if asked.restore else "create"
    reserve(asked.pve, asked.vmid, "lxc", asked.old, f"unable to {verb} CT {asked.vmid} -")

    def work(log: Log) -> None:
        try:
            with asked.pve.lock(asked.vmid, "lxc", log, "lock" in call.faults):
                _create(asked, log)
        except FAILURES as error:
            roll_back(asked, log)
            raise failure(f"unable to {verb} CT {asked.vmid} - {error}") from error
        after_create(call, "lxc", asked.vmid, log)

    return call.start("vzrestore" if asked.restore else "vzcreate", asked.vmid, work)


def reserve(pve: Pve, vmid: int, kind: str, old: GuestConf | None, prefix: str) -> None:
    """Takes the VMID by a configuration that holds only a create lock; an overwritten guest keeps its own."""
    with pve.mutex:
        if old is None and pve.guests.get(vmid):
            raise failure(f"{prefix} {common.WORD[kind]} {vmid} already exists on node '{pve.node.name}'")
        if old is not None and old.values.get("lock"):
            raise failure(f"{prefix} {common.WORD[kind]} is locked ({old.values['lock']})")
        pve.guests.set(old or GuestConf(vmid, kind), {"lock": "create"})


def roll_back(asked: Creation, log: Log) -> None:
    """Undoes a failed creation: no disks, no configuration."""
    if asked.old is None:
        guest_removal.discard(asked.pve, asked.conf, asked.fresh, log)
        return
    volumes.release(asked.pve, *asked.fresh)
    asked.pve.guests.save(asked.old)


def _create(asked: Creation, log: Log) -> None:
    pve, conf = asked.pve, asked.conf
    saved: Values = {}
    if asked.restore:
        log(f"recovering backed-up configuration from '{asked.archive}'")
        saved = _take_backup(asked, volumes.archive_file(pve, asked.archive))
    elif "rootfs" not in asked.disks:
        asked.disks["rootfs"] = f"{asked.storage}:4"
    _make_disks(asked, log)
    lxc_update.check_volumes(pve, conf)
    if asked.restore:
        clear_away(asked, log)
    archive = volumes.archive_file(pve, asked.archive)
    found = templates.look(archive, asked.archive)
    conf.values.setdefault("ostype", found.system)
    conf.values.setdefault("hostname", f"CT{asked.vmid}")
    conf.values.setdefault("memory", "512")
    conf.values.setdefault("swap", "512")
    if asked.restore:
        log(f"restoring '{asked.archive}' now..")
    log(f"extracting archive '{_shown(asked)}'")
    pve.backend.create(GuestSpec(conf.vmid, "lxc", _with_keys(asked)), archive, log)
    log(f"Total bytes read: {archive.stat().st_size}")
    if asked.restore:
        log("merging backed-up and given configuration..")
    if "arch" not in conf.values:
        conf.values["arch"] = found.arch
        log(f"Detected container architecture: {found.arch}")
    if not asked.restore and found.keys:
        for line in pve.backend.host_keys(pve.spec(conf)):
            log(line)
    if truth(saved.get("template")):
        log("Convert restored container to template...")
        make_template(pve, conf)
    pve.guests.save(conf)
    common.add_to_pool(pve, asked.vmid, asked.pool)


def _make_disks(asked: Creation, log: Log) -> None:
    values = asked.conf.values
    order = sorted(asked.disks, key=lambda key: -1 if key == "rootfs" else int(key[2:]))
    for key in order:
        values[key] = lxc_update.make_volume(asked.call, asked.vmid, key, asked.disks[key])
        fields = lxc_config.parse_volume(key, values[key])
        if not volumes.NEW_DISK.fullmatch(asked.disks[key].partition(",")[0].removeprefix("volume=")):
            continue
        asked.fresh.append(str(fields["volume"]))
        size = parse_size(str(fields.get("size", "0"))) or 0
        path = shown_path(asked.call.pve, asked.fresh[-1])
        if path.endswith(".raw"):
            log(f"Formatting '{path}', fmt=raw size={size} preallocation=off")
            log(f"Creating filesystem with {size // 4096} 4k blocks and {size // 16384} inodes")


def _shown(asked: Creation) -> str:
    return asked.archive if asked.archive.startswith("/") else shown_path(asked.call.pve, asked.archive)


def clear_away(asked: Creation, log: Log) -> None:
    """Removes what a restore overwrites; from here on a failure leaves nothing."""
    if asked.old is not None:
        asked.pve.backend.destroy(asked.pve.spec(asked.old), log)
        gone = [v for v in volume_features.referenced(asked.old) if v not in asked.fresh]
        volumes.release(asked.pve, *gone)
        asked.old = None


def _with_keys(asked: Creation) -> Mapping[str, str]:
    """The configuration with what only the first start may see and no configuration keeps."""
    extra = {k: str(asked.call[k]) for k in ("ssh-public-keys", "password") if asked.call.has(k)}
    return {**asked.conf.values, **extra}


def _take_backup(asked: Creation, archive: Path) -> Values:
    saved = backups.read_config(asked.pve, archive, asked.vmid, "lxc")
    conf, own_disks = asked.conf, not asked.disks
    for key, value in saved.items():
        if lxc_config.VOLUME.fullmatch(key):
            if own_disks:
                size = (parse_size(common.size_field(value) or "4G") or 0) / (1 << 30)
                fields = lxc_config.parse_volume(key, value)
                fields.pop("size", None)
                fields["volume"] = f"{asked.storage}:{size:.15g}"
                asked.disks[key] = lxc_config.print_volume(key, fields)
        elif not key.startswith("unused") and key not in ("template", "parent", "unprivileged"):
            conf.values.setdefault(key, value)
    if asked.call.flag("unique"):
        for key in [k for k in conf.values if re.fullmatch(r"net\d+", k)]:
            conf.values[key] = lxc_config.print_net(conf.values[key], fresh=True)
    if not asked.call.has("unprivileged") and truth(saved.get("unprivileged")):
        conf.values["unprivileged"] = "1"
    was = asked.old.values.get("unprivileged") if asked.old else "1"
    if truth(was) and not truth(conf.values.get("unprivileged")):
        asked.call.check("/", "Sys.Modify")
    return saved
