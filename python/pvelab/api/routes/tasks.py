"""Tasks of the node and of the cluster."""

from __future__ import annotations

from typing import Any

from ..errors import ApiError, bad, denied
from ..registry import Call, index, route
from ..tasks import Task, parse_upid
from ..words import split_list

BASE = "/nodes/{node}/tasks"
ONE = BASE + "/{upid}"


def shown(task: Task, with_status: bool) -> dict[str, Any]:
    """One task as PVE lists it: the token's part of the user apart."""
    user, _, token = task.user.partition("!")
    found: dict[str, Any] = {
        "upid": task.upid,
        "node": task.node,
        "pid": task.pid,
        "pstart": task.pstart,
        "starttime": task.starttime,
        "type": task.type,
        "id": task.id,
        "user": user,
    }
    if token:
        found["tokenid"] = token
    if with_status and not task.running:
        found["status"] = task.status
        found["endtime"] = task.endtime
    return found


def mine(call: Call, task: Task) -> bool:
    """Whether the caller started the task, itself or through one of its tokens."""
    return call.user in (task.user, task.user.partition("!")[0])


def kind_of(status: str | None) -> str:
    """ok, warning, error or unknown."""
    if status == "OK":
        return "ok"
    if status and status.startswith("WARNINGS"):
        return "warning"
    return "unknown" if status in (None, "unexpected status") else "error"


def _wanted(call: Call, task: Task) -> bool:
    source = call.get("source", "archive")
    if (source == "active" and not task.running) or (source == "archive" and task.running):
        return False
    if call.has("vmid") and task.id != str(call["vmid"]):
        return False
    if call.has("typefilter") and task.type != call["typefilter"]:
        return False
    if call.has("userfilter") and call["userfilter"].lower() not in task.user.lower():
        return False
    kind = kind_of(task.status)
    if call.flag("errors"):
        if kind == "ok":
            return False
    elif call.has("statusfilter") and kind not in split_list(call["statusfilter"].lower()):
        return False
    return call.number("since") <= task.starttime <= call.number("until", 1 << 62)


@route("GET", BASE)
def listing(call: Call) -> list[dict[str, Any]]:
    everything = call.allowed(f"/nodes/{call.pve.node.name}", "Sys.Audit")
    found = [t for t in _newest(call) if (everything or mine(call, t)) and _wanted(call, t)]
    call.attributes["total"] = len(found)
    start, limit = call.number("start"), call.number("limit", 50)
    return [{**shown(t, True), **({"status": "RUNNING"} if t.running else {})} for t in found[start : start + limit]]


def _newest(call: Call) -> list[Task]:
    return list(reversed(call.pve.tasks.all.copy().values()))


@route("GET", "/cluster/tasks")
def cluster_tasks(call: Call) -> list[dict[str, Any]]:
    """As PVE does it: a token without Sys.Audit on / sees nothing here, not even its own tasks."""
    everything = call.allowed("/", "Sys.Audit")
    found = [t for t in _newest(call) if everything or t.user.partition("!")[0] == call.user]
    recent = [t for t in found if t.running] + [t for t in found if not t.running][:25]
    return [{**shown(t, True), "saved": "0" if t.running else "1"} for t in recent]


index(ONE, "name", "log", "status")


def find(call: Call, privilege: str) -> Task:
    """The task of the path's UPID, if the caller may see it."""
    upid = str(call["upid"])
    parsed = parse_upid(upid)
    if parsed is None:
        raise bad(upid="unable to parse worker upid")
    if not mine(call, parsed):
        call.check(f"/nodes/{parsed.node}", privilege)
    task = call.pve.tasks.all.get(upid)
    if task is None:
        raise bad(upid="no such task")
    return task


@route("GET", ONE + "/status")
def status(call: Call) -> dict[str, Any]:
    task = find(call, "Sys.Audit")
    found = shown(task, False)
    found["status"] = "running" if task.running else "stopped"
    if not task.running:
        found["exitstatus"] = task.status
    return found


@route("GET", ONE + "/log")
def log(call: Call) -> list[dict[str, Any]]:
    task = find(call, "Sys.Audit")
    if call.flag("download"):
        for name in ("start", "limit"):
            if call.has(name):
                raise bad(**{name: "the 'start' and 'limit' parameters can't be used with 'download'"})
        raise ApiError(500, "pvelab does not send task logs as files\n")
    lines = call.pve.tasks.lines(task)
    call.attributes["total"] = len(lines)
    start, limit = call.number("start"), call.number("limit", 50)
    chosen = lines[start : start + limit] if limit else lines[start:]
    if not lines:
        return [{"n": 1, "t": "no content"}]
    return [{"n": start + n, "t": text} for n, text in enumerate(chosen, 1)]


@route("DELETE", ONE)
def stop(call: Call) -> None:
    task = find(call, "Sys.Modify")
    if not mine(call, task) and not call.allowed(f"/nodes/{task.node}", "Sys.Modify"):
        raise denied()
    task.stop.set()
