"""One backup job: guest after guest, with the lines that PVE's log has around them."""

from __future__ import annotations

import re
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import backups, common, volume_features, volumes
from .errors import FAILURES, ApiError, existing, failure, refuse_if
from .guestconf import GuestConf
from .pruning import check_protected, prune
from .registry import Call
from .schema import named_fields
from .storage_paths import activated, files
from .tasks import Log
from .words import split_list, truth

ENDINGS = {"zstd": ".zst", "gzip": ".gz", "lzo": ".lzo", "1": ".lzo"}


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
    for key in sorted(params.keys() - {"vmid", "job-id", "stdout", "id"}):
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

    def prepare(self) -> None:
        """Looks at the storage; raises all that is wrong with it at once."""
        problems = []
        try:
            activated(self.call, self.sid)
        except ApiError as error:
            problems.append(f"could not activate storage '{self.sid}': {error}")
        try:
            config = volumes.storage(self.call.pve, self.sid)
            takes = "backup" in volumes.contents(config)
            refuse_if(not takes, f"can't use storage '{self.sid}' for backups - wrong content type")
            text = str(self.params.get("prune-backups") or config.get("prune-backups") or "keep-all=1")
            self.keep = named_fields("prune-backups", text)
        except ApiError as error:
            problems.append(f"could not get storage information for '{self.sid}': {error}")
        refuse_if(problems, "\n".join(problems))

    def run(self, log: Log) -> None:
        """Backs up every guest; fails at the end if one of them failed."""
        log(f"INFO: starting new backup job: {command_line(self.params)}")
        wanted = [vmid for vmid in self.vmids if self._may(vmid)]
        failed = [vmid for vmid in wanted if not self._one(vmid, log)]
        log(f"INFO: Backup job finished {'with errors' if failed else 'successfully'}")
        log("INFO: notified via target `mail-to-root`")
        refuse_if(failed, "job errors")

    def _may(self, vmid: int) -> bool:
        if self.call.pve.guests.get(vmid) and not truth(self.params.get("all")):
            self.call.check(f"/vms/{vmid}", "VM.Backup")
        return self.call.pve.guests.get(vmid) is None or self.call.allowed(f"/vms/{vmid}", "VM.Backup")

    def _one(self, vmid: int, log: Log) -> bool:
        begun = time.time()
        try:
            conf = existing(self.call.pve.guests.get(vmid), f"unable to find VM '{vmid}'")
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
        limit = 0 if truth(self.keep.get("keep-all")) else sum(int(count) for count in self.keep.values())
        mine = files(self.call, self.sid, {"backup"}, str(conf.vmid))
        counted = [e for e in mine if e["subtype"] == conf.kind and not e.get("protected")]
        ending = ENDINGS.get(str(self.params.get("compress", "0")), "")
        stamp = time.strftime("%Y_%m_%d-%H_%M_%S")
        name = f"vzdump-{conf.kind}-{conf.vmid}-{stamp}.{'tar' if conf.kind == 'lxc' else 'vma'}{ending}"
        if truth(self.params.get("protected")):
            check_protected(self.call, f"{self.sid}:backup/{name}", conf.vmid)
        elif limit and not truth(self.params.get("remove", "1")) and len(counted) >= limit:
            text = f"There is a max backup limit of {limit} enforced by the target storage or the vzdump parameters."
            raise failure(f"{text} Either increase the limit or delete old backups.")
        return name

    def _locked(self, conf: GuestConf, name: str, log: Log) -> None:
        pve = self.call.pve
        with pve.lock(conf.vmid, conf.kind, log, "lock" in self.call.faults):
            conf = pve.conf(conf.vmid, conf.kind)
            common.check_lock(conf)
            pve.guests.set(conf, {"lock": "backup"})
        try:
            self._archive(conf, name, log)
        finally:
            with pve.lock(conf.vmid, conf.kind):
                now = pve.guests.get(conf.vmid)
                if now is not None and now.values.get("lock") == "backup":
                    pve.guests.set(now, {"lock": None})

    def _archive(self, conf: GuestConf, name: str, log: Log) -> None:
        pve, config = self.call.pve, volumes.storage(self.call.pve, self.sid)
        mode = str(self.params.get("mode", "snapshot")) if pve.running(conf.vmid) else "stop"
        if mode == "snapshot" and conf.kind == "lxc" and not self._can_snapshot(conf):
            log("INFO: mode failure - some volumes do not support snapshots")
            log("INFO: trying 'suspend' mode instead")
            mode = "suspend"
        log(f"INFO: backup mode: {mode}")
        log(f"INFO: ionice priority: {self.params.get('ionice', 7)}")
        log(f"INFO: {'CT' if conf.kind == 'lxc' else 'VM'} Name: {conf.name}")
        log(f"INFO: creating vzdump archive '{config.get('path', f'/mnt/pve/{self.sid}')}/dump/{name}'")
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
        self._finish(conf, target, log)

    def _finish(self, conf: GuestConf, target: Path, log: Log) -> None:
        log(f"INFO: archive file size: {shown_size(target.stat().st_size)}")
        volid = f"{self.sid}:backup/{target.name}"
        if self.params.get("notes-template"):
            log("INFO: adding notes to backup")
            backups.note(self.call.pve, volid, notes=self._notes(conf))
        if truth(self.params.get("protected")):
            log("INFO: marking backup as protected")
            backups.note(self.call.pve, volid, protected=True)
        if truth(self.params.get("remove", "1")) and not truth(self.keep.get("keep-all")):
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
        pve, own = self.call.pve, [v for _, f, v in volume_features.each("lxc", conf.values) if f["type"] == "volume"]
        kinds = {volumes.storage(pve, volumes.split(volid)[0])["type"] for volid in own}
        return kinds <= {"zfspool", "lvmthin", "btrfs", "rbd"}
