"""Scheduled backups, and backups made now as real archives."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from ...backend import BackendError
from .. import backups, common, volumes
from ..errors import ApiError, TaskError, bad, bad_field, failure
from ..guestconf import GuestConf
from ..registry import Call, route
from ..schema import split_property_string
from ..surface import parameters
from ..tasks import Log
from ..words import split_list

BASE = "/cluster/backup"
ROOT_ONLY = ("tmpdir", "dumpdir", "script", "job-id")
MODES = ("snapshot", "suspend", "stop")


def _check_common(call: Call, names: set[str]) -> None:
    if call.is_root:
        return
    for key in ROOT_ONLY:
        if key in names:
            raise bad_field(key, "Only root may set this option.")
    if names & {"bwlimit", "ionice", "performance"}:
        call.check("/", "Sys.Modify")


def _verify(params: dict[str, Any], complete: bool) -> None:
    """PVE's rules between the options of a backup."""
    for key in ("all", "exclude", "pool"):
        if params.get(key) not in (None, "0") and params.get("vmid"):
            raise bad_field(key, "option conflicts with option 'vmid'")
    if params.get("exclude") is not None and not params.get("pool"):
        params["all"] = "1"
    if complete and not any(params.get(k) not in (None, "0") for k in ("all", "stop", "pool", "vmid")):
        raise bad(vmid="property is missing")


def _schedule(params: dict[str, Any], required: bool) -> None:
    start = params.pop("starttime", None)
    days = params.pop("dow", None)
    if params.get("schedule") is not None:
        if start is not None:
            raise bad(starttime="'starttime' and 'schedule' cannot both be set")
    elif start is not None:
        params["schedule"] = f"{','.join(split_list(days))} {start}" if days else start
    elif required:
        raise bad(schedule="neither 'starttime' nor 'schedule' were set")


def _typed(params: dict[str, Any]) -> dict[str, Any]:
    """Options as jobs.cfg gives them back: numbers as numbers, property strings taken apart."""
    schema = parameters("POST", BASE)
    found: dict[str, Any] = {}
    for key, value in params.items():
        kind, form = schema.get(key, {}).get("type"), schema.get(key, {}).get("format")
        if kind in ("integer", "boolean", "number") and re.fullmatch(r"\d+", str(value)):
            found[key] = int(value)
        elif key == "prune-backups" and isinstance(value, str):
            from ..surface import named_format

            found[key] = split_property_string(named_format(str(form)) or {}, value)
        else:
            found[key] = value
    return found


@route("GET", BASE)
def jobs(call: Call) -> list[dict[str, Any]]:
    following = int(time.time()) // 86400 * 86400 + 86400
    return [
        {**job, "id": name, "type": "vzdump", "next-run": following} for name, job in call.pve.table("backup").items()
    ]


@route("POST", BASE)
def create_job(call: Call) -> None:
    params = dict(call.params)
    _check_common(call, set(params))
    if params.get("storage"):
        call.check(f"/storage/{params['storage']}", "Datastore.Allocate")
    if params.get("pool"):
        common.check_pool(call.pve, params["pool"])
        call.check(f"/pool/{params['pool']}", "VM.Backup")
    _schedule(params, True)
    params.setdefault("enabled", "1")
    name = str(params.pop("id", uuid.uuid4()))
    with call.pve.cluster.lock:
        table = call.pve.table("backup")
        if name in table:
            raise failure(f"Job '{name}' already exists")
        _verify(params, True)
        table[name] = _typed(params)
        call.pve.cluster.save()


@route("GET", BASE + "/{id}")
def get_job(call: Call) -> dict[str, Any]:
    job = call.pve.table("backup").get(call["id"])
    if job is None:
        raise bad(id=f"No such job '{call['id']}'")
    return {**job, "id": call["id"], "type": "vzdump"}


@route("PUT", BASE + "/{id}")
def update_job(call: Call) -> None:
    params = {k: v for k, v in call.params.items() if k not in ("id", "delete")}
    delete = split_list(str(call.get("delete", "")))
    _check_common(call, {*params, *delete})
    if params.get("storage"):
        call.check(f"/storage/{params['storage']}", "Datastore.Allocate")
    if params.get("pool"):
        common.check_pool(call.pve, params["pool"])
        call.check(f"/pool/{params['pool']}", "VM.Backup")
    _schedule(params, False)
    if not params and not delete:
        raise failure("no options specified")
    _verify(params, False)
    with call.pve.cluster.lock:
        table = call.pve.table("backup")
        job = table.get(call["id"])
        if job is None:
            raise failure("no such vzdump job")
        known = parameters("POST", BASE)
        for key in delete:
            if key not in known:
                raise bad(delete=f"unknown option '{key}'")
        fresh = {k: v for k, v in job.items() if k not in delete} | _typed(params)
        for taken, others in (("vmid", ("all", "exclude", "pool")), ("all", ("vmid", "pool"))):
            if params.get(taken) not in (None, "0"):
                fresh = {k: v for k, v in fresh.items() if k not in others}
        table[call["id"]] = fresh
        call.pve.cluster.save()


@route("DELETE", BASE + "/{id}")
def delete_job(call: Call) -> None:
    with call.pve.cluster.lock:
        if call.pve.table("backup").pop(call["id"], None) is None:
            text = bad(id=f"No such job '{call['id']}'").text
            raise failure(text)
        call.pve.cluster.save()


@route("GET", BASE + "/{id}/included_volumes")
def included(call: Call) -> dict[str, Any]:
    job = get_job(call)
    children = []
    for vmid in _included(call, {k: str(v) for k, v in job.items()}):
        conf = call.pve.guests.get(vmid)
        if conf and call.allowed(f"/vms/{vmid}", "VM.Audit"):
            children.append({"id": vmid, "name": conf.name, "type": conf.kind, "children": []})
    return {"children": children}


@route("GET", "/cluster/backup-info")
def info(call: Call) -> list[dict[str, str]]:
    return [{"subdir": "not-backed-up"}]


@route("GET", "/cluster/backup-info/not-backed-up")
def not_backed_up(call: Call) -> list[dict[str, Any]]:
    covered: set[int] = set()
    for job in call.pve.table("backup").values():
        covered |= set(_included(call, {k: str(v) for k, v in job.items()}))
    found = []
    for conf in call.pve.guests.all():
        if conf.vmid not in covered and call.allowed(f"/vms/{conf.vmid}", "VM.Audit"):
            found.append({"vmid": conf.vmid, "type": conf.kind, "name": conf.name})
    return found


def _included(call: Call, params: dict[str, Any]) -> list[int]:
    if params.get("pool"):
        entry = call.pve.users.data["pools"].get(params["pool"], {"vms": []})
        return sorted(entry["vms"])
    if params.get("vmid"):
        return [int(v) for v in split_list(str(params["vmid"]))]
    if params.get("all") in ("1", 1):
        skipped = {int(v) for v in split_list(str(params.get("exclude", "")))}
        return [conf.vmid for conf in call.pve.guests.all() if conf.vmid not in skipped]
    return []


# --- vzdump now

NOW = "/nodes/{node}/vzdump"


@route("POST", NOW)
def vzdump(call: Call) -> str:
    params = {k: v for k, v in call.params.items() if k != "node"}
    _check_common(call, set(params))
    _verify(params, True)
    vmids = _included(call, params)
    if not vmids and not params.get("all"):
        return "OK"
    sid = str(params.get("storage", "local"))
    call.check(f"/storage/{sid}", "Datastore.AllocateSpace")

    def work(log: Log) -> None:
        config = volumes.enabled_storage(call.pve, sid)
        if "backup" not in volumes.contents(config):
            raise TaskError(f"could not get storage information for '{sid}': storage '{sid}' does not support backups")
        failed = 0
        for vmid in vmids:
            failed += not _backup_one(call, vmid, sid, params, log)
        if failed:
            raise TaskError("job errors")
        log("INFO: Backup job finished successfully")

    log_line = " ".join(f"--{k} {v}" for k, v in sorted(params.items()))

    def started(log: Log) -> None:
        log(f"INFO: starting new backup job: vzdump {log_line}")
        work(log)

    return call.start("vzdump", vmids[0] if len(vmids) == 1 else "", started)


def _backup_one(call: Call, vmid: int, sid: str, params: dict[str, Any], log: Log) -> bool:
    begun = time.time()
    conf = call.pve.guests.get(vmid)
    kind = conf.kind if conf else "qemu"
    log(f"INFO: Starting Backup of VM {vmid} ({kind})")
    log(f"INFO: Backup started at {time.strftime('%Y-%m-%d %H:%M:%S')}")
    try:
        if conf is None:
            raise TaskError(f"unable to find VM '{vmid}'")
        if not call.allowed(f"/vms/{vmid}", "VM.Backup"):
            raise TaskError(f"Permission check failed (/vms/{vmid}, VM.Backup)")
        with call.pve.lock(vmid, kind, log, "lock" in call.faults):
            _write(call, conf, sid, params, log)
    except (ApiError, TaskError, BackendError, OSError) as error:
        text = error.text if isinstance(error, ApiError) else str(error)
        log(f"ERROR: Backup of VM {vmid} failed - {text}")
        return False
    log(f"INFO: Finished Backup of VM {vmid} ({time.strftime('%H:%M:%S', time.gmtime(time.time() - begun))})")
    return True


def _write(call: Call, conf: GuestConf, sid: str, params: dict[str, Any], log: Log) -> None:
    pve = call.pve
    conf = pve.conf(conf.vmid, conf.kind)
    common.check_lock(conf)
    log(f"INFO: status = {'running' if pve.running(conf.vmid) else 'stopped'}")
    log(f"INFO: backup mode: {params.get('mode', 'snapshot')}")
    log(f"INFO: {'CT' if conf.kind == 'lxc' else 'VM'} Name: {conf.name}")
    stamp = time.strftime("%Y_%m_%d-%H_%M_%S")
    ending = {"zstd": ".zst", "gzip": ".gz", "lzo": ".lzo", "1": ".lzo"}.get(str(params.get("compress", "0")), "")
    name = f"vzdump-{conf.kind}-{conf.vmid}-{stamp}.{'tar' if conf.kind == 'lxc' else 'vma'}{ending}"
    folder = volumes.root(pve, sid) / "dump"
    folder.mkdir(parents=True, exist_ok=True)
    if "storage-full" in call.faults:
        raise TaskError("No space left on device")
    locked = conf.copy()
    locked.values["lock"] = "backup"
    pve.guests.save(locked)
    try:
        partial = folder / f"tmp-{name}"
        log(f"INFO: creating vzdump archive '{name}'")
        pve.backend.export(pve.spec(conf), partial, log)
        backups.write_config(folder / name, conf)
        partial.replace(folder / name)
    finally:
        pve.guests.save(conf)
    log(f"INFO: archive file size: {(folder / name).stat().st_size >> 20}MB")
    _keep_notes(call, f"{sid}:backup/{name}", conf, params)


def _keep_notes(call: Call, volid: str, conf: GuestConf, params: dict[str, Any]) -> None:
    notes: dict[str, Any] = {}
    if params.get("notes-template"):
        values = {"guestname": conf.name, "vmid": str(conf.vmid), "node": call.pve.node.name, "cluster": ""}
        text = re.sub(r"\{\{(\w+)\}\}", lambda m: values.get(m[1], m[0]), str(params["notes-template"]))
        notes["notes"] = text.replace("\\n", "\n").replace("\\\\", "\\")
    if str(params.get("protected", "0")) == "1":
        notes["protected"] = 1
    if notes:
        with call.pve.cluster.lock:
            call.pve.cluster.data.setdefault("volume_notes", {})[volid] = notes
            call.pve.cluster.save()


@route("GET", NOW + "/defaults")
def defaults(call: Call) -> dict[str, Any]:
    sid = str(call.get("storage", "local"))
    call.check(f"/storage/{sid}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)
    return {"storage": sid, "mode": "snapshot"}


@route("GET", NOW + "/extractconfig")
def extract_config(call: Call) -> str:
    volid = str(call["volume"])
    volumes.check_access(call, None, volid, "backup")
    path = backups.config_file(volumes.file_path(call.pve, volid))
    if not path.is_file():
        raise failure(f"volume '{volid}' does not exist")
    return path.read_text()
