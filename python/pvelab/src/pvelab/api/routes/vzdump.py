"""Backups made now: what is asked, who may, and the job's task with the log of PVE's own."""

from __future__ import annotations

import re
import threading
from typing import Any

from .. import backups, volumes
from ..backupjob import Job
from ..errors import bad_field, existing, failure, refuse_if
from ..registry import Call, route
from ..schema import named_fields
from ..tables import table
from ..tasks import Log
from ..words import split_list, truth

NOW = "/nodes/{node}/vzdump"
ROOT_ONLY = ("tmpdir", "dumpdir", "script", "job-id")
VARIABLES = ("cluster", "guestname", "node", "vmid")
ONE_JOB = threading.Lock()  # only one backup job runs on a node at a time


def check_options(call: Call, names: set[str]) -> None:
    """Whether the caller may set these options at all."""
    if call.is_root:
        return
    for key in ROOT_ONLY:
        refuse_if(key in names, bad_field(key, "Only root may set this option."))
    if names & {"bwlimit", "ionice", "performance"}:
        call.check("/", "Sys.Modify")


def verify(params: dict[str, Any], complete: bool = True) -> None:
    """PVE's rules between the options of a backup."""
    for key in ("all", "exclude", "pool"):
        both = truth(params.get(key)) and params.get("vmid")
        refuse_if(both, bad_field(key, "option conflicts with option 'vmid'"))
    wrong = _unknown_in(str(params.get("notes-template") or ""))
    refuse_if(wrong, bad_field("notes-template", f"{wrong}\n"))
    if params.get("exclude") is not None and not params.get("pool"):
        params["all"] = 1
    if complete and not any(truth(params.get(key)) for key in ("all", "stop", "pool", "vmid")):
        raise bad_field("vmid", "property is missing")


def _unknown_in(template: str) -> str:
    """What a template for notes says that PVE doesn't know."""
    if "\n" in template:
        return "contains a line feed"
    escapes = [match for match in re.finditer(r"\\(.)", template) if match[1] not in "n\\"]
    found = [f"escape sequence '\\{match[1]}' at char {match.end() - 2}" for match in escapes]
    for match in re.finditer(r"\{\{([^\s{}]+)\}\}", template):
        if match[1] not in VARIABLES:
            found.append(f"variable '{match[1]}' at char {match.end() - len(match[1])}")
    return f"found unknown: {', '.join(found)}" if found else ""


def included(call: Call, params: dict[str, Any]) -> list[int]:
    """The guests that are meant; those that a call names need not exist."""
    if params.get("pool"):
        return sorted(int(vmid) for vmid in call.pve.users.data["pools"].get(params["pool"], {"vms": []})["vms"])
    if params.get("vmid"):
        return sorted({int(v) for v in split_list(str(params["vmid"]))})
    skipped = {int(v) for v in split_list(str(params.get("exclude", "")))}
    return [conf.vmid for conf in call.pve.guests.all() if truth(params.get("all")) and conf.vmid not in skipped]


@route("POST", NOW)
def vzdump(call: Call) -> str:
    """Backs guests up in a task."""
    params = call.without("node")
    refuse_if(truth(params.get("stdout")), bad_field("stdout", "option is only allowed on the command line interface."))
    check_options(call, {*params})
    if not call.is_root:
        fleecing = named_fields("backup-fleecing", str(params.get("fleecing", "")))
        if fleecing.get("storage"):
            call.check(f"/storage/{fleecing['storage']}", "Datastore.AllocateSpace")
        if "prune-backups" in params and not params.get("dumpdir"):
            call.check(f"/storage/{params.get('storage', 'local')}", "Datastore.Allocate")
    verify(params)
    pool = params.get("pool")
    refuse_if(pool and pool not in call.pve.users.data["pools"], f"pool '{pool}' does not exist")
    vmids = included(call, params)
    if truth(params.get("stop")):
        call.check(f"/nodes/{call.pve.node.name}", "Sys.Modify")
        for task in call.pve.tasks.all.copy().values():
            if task.running and task.type == "vzdump":
                task.stop.set()
        if not vmids:
            return "OK"
    if not vmids and not truth(params.get("all")):
        return "OK"
    if not params.get("dumpdir"):
        call.check(f"/storage/{params.get('storage', 'local')}", "Datastore.AllocateSpace")
    job = Job(call, params, vmids)

    def work(log: Log) -> None:
        job.prepare()
        if not ONE_JOB.acquire(blocking=False):
            log("INFO: trying to get global lock - waiting...")
            ONE_JOB.acquire()
            log("INFO: got global lock")
        try:
            job.run(log)
        finally:
            ONE_JOB.release()

    return call.start("vzdump", vmids[0] if len(vmids) == 1 else "", work)


@route("GET", NOW + "/defaults")
def defaults(call: Call) -> dict[str, Any]:
    """What a backup does where nobody says otherwise."""
    sid = str(call.get("storage", "local"))
    call.check(f"/storage/{sid}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)
    config = volumes.storage(call.pve, sid)
    refuse_if("backup" not in volumes.contents(config), f"can't use storage '{sid}' for backups - wrong content type")
    found = {**table("vzdump defaults"), "storage": sid}
    if config["type"] in volumes.FILE_BASED:
        found["dumpdir"] = f"{config.get('path', f'/mnt/pve/{sid}')}/dump"
    if config.get("prune-backups"):
        found["prune-backups"] = config["prune-backups"]
    if not call.allowed(f"/nodes/{call.pve.node.name}", "Sys.Audit"):
        for key in ("dumpdir", "ionice"):
            found.pop(key, None)
    return found


@route("GET", NOW + "/extractconfig")
def extract_config(call: Call) -> str:
    """The configuration of the guest in a backup."""
    volid = str(call["volume"])
    volumes.check_access(call, None, volid, "backup")
    call.check(f"/vms/{volumes.named(call.pve, volid).owner or ''}", "VM.Backup")
    file = volumes.file_path(call.pve, volid)
    refuse_if(not file.is_file(), f"volume '{volid}' does not exist")
    known = existing(backups.archive_info(file.name), f"ERROR: couldn't determine archive info from '{file.name}'")
    try:
        return backups.config_text(file, known.type)
    except OSError as error:
        raise failure("ERROR: archive contains no configuration file") from error
