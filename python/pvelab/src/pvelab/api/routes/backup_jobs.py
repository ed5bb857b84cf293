"""Scheduled backups."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from .. import calendarevent, common, lxc_config, qemu_config
from ..errors import bad, existing, prefixed, refuse_if
from ..guestconf import GuestConf
from ..registry import Call, route
from ..schema import split_property_string
from ..sections import typed
from ..surface import named_format, parameters
from ..words import split_list, truth
from .vzdump import check_options, included, verify

BASE = "/cluster/backup"
PROPERTY_STRINGS = {"fleecing", "performance", "prune-backups"}
KNOWN = {*parameters("POST", "/nodes/{node}/vzdump")}


def _schedule(params: dict[str, Any], required: bool) -> None:
    start = params.pop("starttime", None)
    days = params.pop("dow", None)
    if params.get("schedule") is not None:
        refuse_if(start is not None, bad(starttime="'starttime' and 'schedule' cannot both be set"))
    elif start is not None:
        params["schedule"] = f"{','.join(split_list(days))} {start}" if days else start
    elif required:
        raise bad(schedule="neither 'starttime' nor 'schedule' were set")


def _typed(params: dict[str, Any]) -> dict[str, Any]:
    """Options as jobs.cfg gives them back: numbers as numbers, property strings taken apart."""
    schema, found = parameters("POST", BASE), typed(f"POST {BASE}", params)
    for key in PROPERTY_STRINGS & found.keys():
        form = schema[key]["format"]
        parts = form if isinstance(form, dict) else named_format(form) or {}
        split = split_property_string(parts, found[key]) if isinstance(found[key], str) else found[key]
        found[key] = {k: int(truth(v)) if parts[k].get("type") == "boolean" else v for k, v in split.items()}
    return found


@route("GET", BASE)
def jobs(call: Call) -> list[dict[str, Any]]:
    """All backup jobs with the time of their next run."""
    found = []
    for name, job in call.pve.table("backup").items():
        coming = calendarevent.following(job["schedule"], int(time.time())) if job.get("schedule") else None
        found.append({**job, "id": name, "type": "vzdump", **({"next-run": coming} if coming is not None else {})})
    return found


def _checked(call: Call, params: dict[str, Any], names: set[str]) -> None:
    check_options(call, names)
    if params.get("storage"):
        call.check(f"/storage/{params['storage']}", "Datastore.Allocate")
    if params.get("pool"):
        common.check_pool(call.pve, params["pool"])
        call.check(f"/pool/{params['pool']}", "VM.Backup")


@route("POST", BASE)
def create_job(call: Call) -> None:
    """Makes a backup job."""
    params = dict(call.params)
    _checked(call, params, set(params))
    _schedule(params, True)
    params.setdefault("enabled", "1")
    name = str(params.pop("id", uuid.uuid4()))
    with prefixed(""), call.pve.changed("backup") as table:
        refuse_if(name in table, f"Job '{name}' already exists")
        verify(params, True)
        table[name] = _typed(params)


@route("GET", BASE + "/{id}")
def get_job(call: Call) -> dict[str, Any]:
    """One backup job."""
    job = existing(call.pve.table("backup").get(call["id"]), bad(id=f"No such job '{call['id']}'"))
    return {**job, "id": call["id"], "type": "vzdump"}


@route("PUT", BASE + "/{id}")
def update_job(call: Call) -> None:
    """Changes a backup job."""
    params, delete = call.without("id", "delete"), call.words("delete")
    _checked(call, params, {*params, *delete})
    _schedule(params, False)
    with prefixed(""), call.pve.changed("backup") as table:
        refuse_if(not params and not delete, "no options specified")
        verify(params, False)
        job = existing(table.get(call["id"]), "no such vzdump job")
        for key in delete:
            if key not in KNOWN and key not in ("comment", "repeat-missed"):
                raise bad(delete=f"unknown option '{key}'")
        fresh = {k: v for k, v in job.items() if k not in delete} | _typed(params)
        if fresh.get("exclude") is not None and fresh.get("pool") is None:
            fresh["all"] = 1
        for dropped in _superseded(params, fresh):
            fresh.pop(dropped, None)
        verify(fresh, True)
        table[call["id"]] = fresh


def _superseded(params: dict[str, Any], fresh: dict[str, Any]) -> tuple[str, ...]:
    """The other ways to say which guests are meant, which the newest one replaces."""
    if params.get("vmid") is not None:
        return ("all", "exclude", "pool")
    if params.get("all") not in (None, "0"):
        return ("vmid", "pool")
    return ("vmid", "all", "exclude") if fresh.get("pool") else ()


@route("DELETE", BASE + "/{id}")
def delete_job(call: Call) -> None:
    """Removes a backup job."""
    with prefixed(""), call.pve.changed("backup") as table:
        if table.pop(call["id"], None) is None:
            raise bad(id=f"No such job '{call['id']}'")


@route("GET", BASE + "/{id}/included_volumes")
def included_volumes(call: Call) -> dict[str, Any]:
    """The guests of a job and which of their volumes are backed up, as a tree."""
    job, children = get_job(call), list[dict[str, Any]]()
    for vmid in included(call, {k: str(v) for k, v in job.items()}):
        if not call.allowed(f"/vms/{vmid}", "VM.Audit"):
            continue
        conf = call.pve.guests.get(vmid)
        if conf is None:
            children.append({"id": vmid, "type": "unknown", "leaf": 1})
            continue
        volumes = (_machine_volumes if conf.kind == "qemu" else _container_volumes)(conf)
        children.append(
            {"id": vmid, "name": _shown_name(conf), "type": conf.kind, "children": volumes, "leaf": int(not volumes)}
        )
    return {"children": children}


def _shown_name(conf: GuestConf) -> str | None:
    """What the configuration calls the guest; a machine may have no name."""
    return conf.name if conf.kind == "lxc" else conf.values.get("name")


def _volume(conf: GuestConf, key: str, name: str, taken: bool, reason: str) -> dict[str, Any]:
    return {"id": f"{conf.vmid}:{key}", "name": name, "included": int(taken), "reason": reason, "leaf": 1}


def _machine_volumes(conf: GuestConf) -> list[dict[str, Any]]:
    found = []
    for key in sorted(filter(qemu_config.is_drive, conf.values)):
        drive = qemu_config.parse_drive(key, conf.values[key])
        if drive is None or qemu_config.is_cdrom(drive):
            continue
        taken, reason = truth(drive.get("backup", "1")), f"backup={'no' if 'backup' in drive else 'yes'}"
        if key.startswith("efidisk") and conf.values.get("bios") != "ovmf":
            taken, reason = False, "efidisk but no OMVF BIOS"
        found.append(_volume(conf, key, drive["file"], taken, reason))
    return found


def _container_volumes(conf: GuestConf) -> list[dict[str, Any]]:
    found = []
    for key in sorted(conf.values, key=lambda k: (k != "rootfs", k)):
        if key != "rootfs" and not re.fullmatch(r"mp\d+", key):
            continue
        fields = lxc_config.parse_volume(key, conf.values[key])
        taken = key == "rootfs" or truth(fields.get("backup"))
        reason = "rootfs" if key == "rootfs" else "enabled" if taken else "disabled"
        if str(fields["volume"]).startswith("/") and key != "rootfs":
            taken, reason = False, "not a volume"
        found.append(_volume(conf, key, str(fields["volume"]), taken, reason))
    return found


@route("GET", "/cluster/backup-info/not-backed-up")
def not_backed_up(call: Call) -> list[dict[str, Any]]:
    """The guests that no job backs up."""
    covered: set[int] = set()
    for job in call.pve.table("backup").values():
        covered |= set(included(call, {k: str(v) for k, v in job.items()}))
    found = []
    for conf in call.pve.guests.all():
        if conf.vmid not in covered and call.allowed(f"/vms/{conf.vmid}", "VM.Audit"):
            named = {"name": name} if (name := _shown_name(conf)) is not None else {}
            found.append({"vmid": conf.vmid, "type": conf.kind, **named})
    return found
