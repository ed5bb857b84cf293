"""One backup job: guest after guest, with the lines that PVE's log has."""

from __future__ import annotations

import re
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import backups, common, lxc_config, qemu_config, volumes
from .errors import FAILURES, ApiError, existing, failure, refuse_if
from .guestconf import GuestConf
from .registry import Call
from .schema import split_property_string
from .surface import named_format
from .tasks import Log
from .words import format_size, split_list, truth

ENDINGS = {"zstd": ".zst", "gzip": ".gz", "lzo": ".lzo", "1": ".lzo"}
CONTROLLERS = re.compile(r"(ide|sata|scsi|virtio|efidisk|tpmstate)\d+")


def shown_size(size: int) -> str:
    """A size as the log of a backup has it."""
    for limit, unit, digits in ((1 << 20, "KB", 0), (1 << 30, "MB", 0), (1 << 40, "GB", 2)):
        if size < limit:
            number = size * 1024 / limit
            return f"{number:.2f}{unit}" if digits else f"{int(number)}{unit}"
    return f"{size / (1 << 40):.2f}TB"


def command_line(params: dict[str, Any]) -> str:
    """The options of a job as one would type them."""
    parts = ["vzdump", *split_list(str(params.get("vmid", "")))]
    for key in sorted(params):
        if key in ("vmid", "job-id", "stdout", "id"):
            continue
        values = params[key] if isinstance(params[key], list) else [params[key]]
        parts += [part for value in values for part in (f"--{key}", shlex.quote(str(value)))]
    return " ".join(parts)


@dataclass
class Job:
    """What one call asked for."""

    call: Call
    params: dict[str, Any]
    vmids: list[int]
    keep: dict[str, Any] = field(default_factory=dict)

    @property
    def sid(self) -> str:
        """The storage that takes the archives."""
        return str(self.params.get("storage", "local"))

    @property
    def folder(self) -> str:
        """The directory of the archives on the node."""
        config = volumes.storage(self.call.pve, self.sid)
        return f"{config.get('path', f'/mnt/pve/{self.sid}')}/dump"

    def prepare(self) -> None:
        """Looks at the storage; raises all that is wrong with it at once."""
        from .storage_paths import activated

        problems = []
        try:
            activated(self.call, self.sid)
        except ApiError as error:
            problems.append(f"could not activate storage '{self.sid}': {error.text}")
        try:
            config = volumes.storage(self.call.pve, self.sid)
            if "backup" not in volumes.contents(config):
                raise failure(f"can't use storage '{self.sid}' for backups - wrong content type")
            text = str(self.params.get("prune-backups") or config.get("prune-backups") or "keep-all=1")
            self.keep = split_property_string(named_format("prune-backups") or {}, text)
        except ApiError as error:
            problems.append(f"could not get storage information for '{self.sid}': {error}")
        refuse_if(problems, failure("\n".join(problems)))

    def run(self, log: Log) -> None:
        """Backs up every guest; fails at the end if one of them failed."""
        log(f"INFO: starting new backup job: {command_line(self.params)}")
        wanted = [vmid for vmid in self.vmids if self._may(vmid)]
        failed = [vmid for vmid in wanted if not self._one(vmid, log)]
        log(f"INFO: Backup job finished {'with errors' if failed else 'successfully'}")
        log("INFO: notified via target `mail-to-root`")
        refuse_if(failed, "job errors")

    def _may(self, vmid: int) -> bool:
        if self.call.pve.guests.get(vmid) is None:
            return True
        if truth(self.params.get("all")):
            return self.call.allowed(f"/vms/{vmid}", "VM.Backup")
        self.call.check(f"/vms/{vmid}", "VM.Backup")
        return True

    def _one(self, vmid: int, log: Log) -> bool:
        begun = time.time()
        try:
            conf = existing(self.call.pve.guests.get(vmid), failure(f"unable to find VM '{vmid}'"))
            name = self._name(conf)
            log(f"INFO: Starting Backup of VM {vmid} ({conf.kind})")
            log(f"INFO: Backup started at {time.strftime('%Y-%m-%d %H:%M:%S')}")
            log(f"INFO: status = {'running' if self.call.pve.running(vmid) else 'stopped'}")
            self._locked(conf, name, log)
        except FAILURES as error:
            log(f"ERROR: Backup of VM {vmid} failed - {error}")
            log(f"INFO: Failed at {time.strftime('%Y-%m-%d %H:%M:%S')}")
            return False
        took = time.strftime("%H:%M:%S", time.gmtime(time.time() - begun))
        log(f"INFO: Finished Backup of VM {vmid} ({took})")
        log(f"INFO: Backup finished at {time.strftime('%Y-%m-%d %H:%M:%S')}")
        return True

    def _name(self, conf: GuestConf) -> str:
        from .routes.storage_volumes import check_protected
        from .storage_paths import files

        limit = 0 if truth(self.keep.get("keep-all")) else sum(int(count) for count in self.keep.values())
        mine = [e for e in files(self.call, self.sid, {"backup"}, str(conf.vmid)) if e["subtype"] == conf.kind]
        stamp = time.strftime("%Y_%m_%d-%H_%M_%S")
        ending = ENDINGS.get(str(self.params.get("compress", "0")), "")
        name = f"vzdump-{conf.kind}-{conf.vmid}-{stamp}.{'tar' if conf.kind == 'lxc' else 'vma'}{ending}"
        if truth(self.params.get("protected")):
            check_protected(self.call, f"{self.sid}:backup/{name}", conf.vmid)
        elif limit and not truth(self.params.get("remove", "1")) and len(_unprotected(mine)) >= limit:
            text = f"There is a max backup limit of {limit} enforced by the target storage or the vzdump parameters."
            raise failure(f"{text} Either increase the limit or delete old backups.")
        return name

    def _locked(self, conf: GuestConf, name: str, log: Log) -> None:
        pve = self.call.pve
        with pve.lock(conf.vmid, conf.kind, log, "lock" in self.call.faults):
            conf = pve.conf(conf.vmid, conf.kind)
            common.check_lock(conf)
            locked = conf.copy()
            locked.values["lock"] = "backup"
            pve.guests.save(locked)
        try:
            self._archive(conf, name, log)
        finally:
            with pve.lock(conf.vmid, conf.kind):
                now = pve.guests.get(conf.vmid)
                if now is not None and now.values.get("lock") == "backup":
                    fresh = now.copy()
                    del fresh.values["lock"]
                    pve.guests.save(fresh)

    def _archive(self, conf: GuestConf, name: str, log: Log) -> None:
        pve, running = self.call.pve, self.call.pve.running(conf.vmid)
        mode = str(self.params.get("mode", "snapshot")) if running else "stop"
        if mode == "snapshot":
            self._describe(conf, log)
            if conf.kind == "lxc" and not self._can_snapshot(conf):
                log("INFO: mode failure - some volumes do not support snapshots")
                log("INFO: trying 'suspend' mode instead")
                mode = "suspend"
        again = mode != "snapshot"
        log(f"INFO: backup mode: {mode}")
        if truth(self.params.get("bwlimit")):
            log(f"INFO: bandwidth limit: {self.params['bwlimit']} KiB/s")
        log(f"INFO: ionice priority: {self.params.get('ionice', 7)}")
        if again:
            self._describe(conf, log)
        for line in _before(conf, mode, running):
            log(f"INFO: {line}")
        log(f"INFO: creating vzdump archive '{self.folder}/{name}'")
        refuse_if("storage-full" in self.call.faults, "No space left on device")
        target = volumes.root(pve, self.sid) / "dump" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".tmp-{name}")
        try:
            pve.backend.export(pve.spec(conf), partial, lambda line: log(f"INFO: {line}"))
            backups.write_config(target, conf)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        self._finish(conf, target, running, log)

    def _finish(self, conf: GuestConf, target: Path, running: bool, log: Log) -> None:
        size = target.stat().st_size
        for line in _after(conf, running, size):
            log(f"INFO: {line}")
        log(f"INFO: archive file size: {shown_size(size)}")
        volid = f"{self.sid}:backup/{target.name}"
        if self.params.get("notes-template"):
            log("INFO: adding notes to backup")
            backups.note(self.call.pve, volid, notes=self._notes(conf))
        if truth(self.params.get("protected")):
            log("INFO: marking backup as protected")
            backups.note(self.call.pve, volid, protected=True)
        if truth(self.params.get("remove", "1")) and not truth(self.keep.get("keep-all")):
            self._prune(conf, log)

    def _prune(self, conf: GuestConf, log: Log) -> None:
        from .routes.storage_prune import prune

        options = ", ".join(f"{key}={value}" for key, value in sorted(self.keep.items()))
        log(f"INFO: prune older backups with retention: {options}")
        gone = prune(self.call, self.sid, str(conf.vmid), conf.kind, self.keep, lambda line: log(f"INFO: {line}"))
        log(f"INFO: pruned {gone} backup(s){' not covered by keep-retention policy' if gone else ''}")

    def _notes(self, conf: GuestConf) -> str:
        node = self.call.pve.node.name
        values = {"guestname": conf.name, "vmid": str(conf.vmid), "node": node, "cluster": "standalone node"}
        text = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], str(self.params["notes-template"]))
        return re.sub(r"\{\{(\w+)\}\}", lambda m: values.get(m[1], m[0]), text)

    def _can_snapshot(self, conf: GuestConf) -> bool:
        for key, text in conf.values.items():
            if key == "rootfs" or re.fullmatch(r"mp\d+", key):
                fields = lxc_config.parse_volume(key, text)
                if fields["type"] == "volume":
                    config = volumes.storage(self.call.pve, volumes.split(str(fields["volume"]))[0])
                    if config["type"] not in ("zfspool", "lvmthin", "btrfs", "rbd"):
                        return False
        return True

    def _describe(self, conf: GuestConf, log: Log) -> None:
        if conf.kind == "lxc":
            log(f"INFO: CT Name: {conf.name}")
            keys = sorted(
                (k for k in conf.values if re.fullmatch(r"rootfs|mp\d+", k)), key=lambda k: (k != "rootfs", k)
            )
            for key in keys:
                log(f"INFO: {_mount_point(key, lxc_config.parse_volume(key, conf.values[key]))}")
            return
        if conf.values.get("name"):
            log(f"INFO: VM Name: {conf.values['name']}")
        for key in sorted(k for k in conf.values if CONTROLLERS.fullmatch(k)):
            fields = qemu_config.parse_drive(key, conf.values[key]) or {}
            if fields.get("media") != "cdrom":
                log(f"INFO: {_drive(key, fields, conf)}")


def _unprotected(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in entries if not entry.get("protected")]


def _mount_point(key: str, fields: dict[str, Any]) -> str:
    path = "/" if key == "rootfs" else str(fields.get("mp"))
    kind = str(fields["type"])
    if key == "rootfs" or (kind == "volume" and truth(fields.get("backup"))):
        return f"including mount point {key} ('{path}') in backup"
    reason = "disabled" if kind == "volume" else "not a volume"
    return f"excluding {kind} mount point {key} ('{path}') from backup ({reason})"


def _drive(key: str, fields: dict[str, Any], conf: GuestConf) -> str:
    volid = str(fields.get("file"))
    if key.startswith("efidisk") and conf.values.get("bios") != "ovmf":
        return f"exclude disk '{key}' '{volid}' (efidisk but no OMVF BIOS)"
    if not truth(fields.get("backup", "1")):
        return f"exclude disk '{key}' '{volid}' (backup=no)"
    return f"include disk '{key}' '{volid}'" + (f" {format_size(int(fields['size']))}" if fields.get("size") else "")


def _before(conf: GuestConf, mode: str, running: bool) -> list[str]:
    """What the log says between the options and the archive."""
    if mode == "stop":
        return ["stopping virtual guest"] if running else []
    if mode == "suspend" and conf.kind == "qemu":
        return ["suspending guest"]
    if mode == "suspend":
        sync = "sync finished - transferred 0 bytes in 0s"
        lines = ["starting first sync", f"first {sync}", "suspending guest", "starting final sync", f"final {sync}"]
        return [*lines, "resuming guest", "guest is online again after <1 seconds"]
    return ["create storage snapshot 'vzdump'"] if conf.kind == "lxc" else []


def _after(conf: GuestConf, running: bool, size: int) -> list[str]:
    """What the log says of the data, before the archive's size."""
    if conf.kind == "lxc":
        return [f"Total bytes written: {size} ({size}B, ?/s)"]
    drives = [k for k in conf.values if CONTROLLERS.fullmatch(k) and "media=cdrom" not in conf.values[k]]
    if not drives:
        return ["backup contains no disks", "starting diskless backup"]
    lines = ["transferred 0.00 B in <1 seconds"]
    return lines if running else ["starting kvm to execute backup task", *lines, "stopping kvm after backup task"]
