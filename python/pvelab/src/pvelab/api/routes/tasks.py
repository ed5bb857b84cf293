"""Tasks of the node and of the cluster."""

from __future__ import annotations

import gzip
import time
from typing import Any

from ..errors import bad, existing, failure
from ..registry import Call, Download, route
from ..tasks import Task, parse_upid
from ..words import split_list

BASE = "/nodes/{node}/tasks"
ONE = BASE + "/{upid}"
COMPRESS_ABOVE = 1024  # bytes of a log that is sent as a file
SHARED = 25  # how many tasks the nodes tell each other of, running ones aside
REPEATED = 10  # after how many seconds a node says its tasks again


def shown(task: Task, with_status: bool) -> dict[str, Any]:
    """One task as PVE lists it: the token's part of the user apart."""
    user, _, token = task.user.partition("!")
    found: dict[str, Any] = {
        "upid": task.upid, "node": task.node, "pid": task.pid, "pstart": task.pstart, "starttime": task.starttime,
        "type": task.type, "id": task.id, "user": user,
    }  # fmt: skip
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
    user = task.user if task.running else task.user.partition("!")[0]  # ended tasks are listed without their token
    if call.has("userfilter") and call["userfilter"].lower() not in user.lower():
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
    """The node's tasks: running ones first, then the ended ones from the latest on."""
    everything = call.allowed(f"/nodes/{call['node']}", "Sys.Audit")
    found = [t for t in _newest(call) if (everything or mine(call, t)) and _wanted(call, t)]
    found.sort(key=lambda t: not t.running)
    call.attributes["total"] = len(found)
    start, limit = call.number("start"), call.number("limit", 50)
    return [_listed(t) for t in found[start : start + limit]]


def _listed(task: Task) -> dict[str, Any]:
    if not task.running:
        return shown(task, True)
    found = {**shown(task, False), "saved": "0", "status": "RUNNING", "user": task.user}
    found.pop("tokenid", None)
    return found


def _newest(call: Call) -> list[Task]:
    return list(reversed(call.pve.tasks.all.copy().values()))


@route("GET", "/cluster/tasks")
def cluster_tasks(call: Call) -> list[dict[str, Any]]:
    """Running tasks and the latest that ended; a token without Sys.Audit on / does not even see its own."""
    everything = call.allowed("/", "Sys.Audit")
    newest = _newest(call)
    running = [t for t in reversed(newest) if t.running]
    listed = {t.upid for t in running}
    ended = [t for t in newest if t.upid not in listed][: max(0, SHARED - len(running))]
    unsaved = _unsaved(newest)
    return [
        _shared(t, t.upid in listed, unsaved)
        for t in [*running, *ended]
        if everything or t.user.partition("!")[0] == call.user
    ]


def _unsaved(newest: list[Task]) -> Task | None:
    """The task whose start was the last that the node said of its tasks, until it says all of them again."""
    last = newest[0] if newest else None
    if last is None or time.time() - last.starttime >= REPEATED:
        return None
    return None if any((t.endtime or 0) > last.starttime for t in newest) else last


def _shared(task: Task, running: bool, unsaved: Task | None) -> dict[str, Any]:
    """One task as the nodes tell each other: a running one by its process, which no other keeps."""
    found = shown(task, not running)
    del found["pstart"]
    if not running:
        del found["pid"]
    if not running or task is not unsaved:
        found["saved"] = "0" if running else "1"
    return found


def find(call: Call, privilege: str, *, must_exist: bool = True) -> Task:
    """The task of the path's UPID, if the caller may see it."""
    upid = str(call["upid"])
    parsed = existing(parse_upid(upid), bad(upid="unable to parse worker upid"))
    task = call.pve.tasks.all.get(upid)
    if task is None and must_exist:
        raise bad(upid="no such task")
    if not mine(call, parsed):
        call.check(f"/nodes/{call['node']}", privilege)
    return task or parsed


@route("GET", ONE + "/status")
def status(call: Call) -> dict[str, Any]:
    """Whether a task runs, and how it ended."""
    task = find(call, "Sys.Audit")
    found = shown(task, False)
    found["status"] = "running" if task.running else "stopped"
    if not task.running:
        found["exitstatus"] = task.status
    return found


@route("GET", ONE + "/log")
def log(call: Call) -> list[dict[str, Any]] | Download:
    """Lines of a task's log, or all of it as a file; a task that nobody knows has one line that says so."""
    task = find(call, "Sys.Audit", must_exist=False)
    known = task.upid in call.pve.tasks.all
    if call.flag("download"):
        if call.has("start") or call.has("limit"):
            raise failure("'download' cannot be used together with 'start' or 'limit' parameters")
        if not known:
            name = f"/var/log/pve/tasks/{task.upid.split(':')[4][-1]}/{task.upid}"
            raise failure(f"Could not open file '{name}' - No such file or directory")
        return _as_file(call, task)
    lines = call.pve.tasks.lines(task) if known else ["unable to open file - No such file or directory"]
    if not lines:
        lines = ["no content"]
    call.attributes["total"] = len(lines)
    start, limit = call.number("start"), call.number("limit", 50)
    if not known or lines == ["no content"]:
        return [{"n": 1, "t": lines[0]}]
    chosen = lines[start : start + limit] if limit else lines[start:]
    return [{"n": start + n, "t": text} for n, text in enumerate(chosen, 1)]


def _as_file(call: Call, task: Task) -> Download:
    text = "".join(f"{line}\n" for line in call.pve.tasks.lines(task)).encode()
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(task.starttime))
    headers = {"Content-Disposition": f'attachment; filename="task-{task.node}-{task.type}-{started}.log"'}
    if len(text) > COMPRESS_ABOVE:
        return Download(gzip.compress(text), "text/plain", {**headers, "Content-Encoding": "gzip"})
    return Download(text, "text/plain", headers)


@route("DELETE", ONE)
def stop(call: Call) -> None:
    """Asks a task to stop."""
    find(call, "Sys.Modify").stop.set()
