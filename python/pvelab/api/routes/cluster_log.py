"""The cluster's log: who logged in, which tasks began and ended."""

from __future__ import annotations

from typing import Any

from ..registry import Call, route


def _entries(call: Call) -> list[dict[str, Any]]:
    node = call.pve.node.name
    found: list[dict[str, Any]] = []
    for task in call.pve.tasks.all.copy().values():
        common = {"pri": 6, "tag": "pvedaemon", "pid": task.pid, "node": node, "user": task.user}
        found.append({**common, "time": task.starttime, "msg": f"starting task {task.upid}"})
        if task.endtime is not None and task.status is not None:
            ended = {"time": task.endtime, "pri": 6 if task.status == "OK" else 3}
            found.append({**common, **ended, "msg": f"end task {task.upid} {task.status}"})
    for when, user in list(call.pve.auth.logins):
        common = {"pri": 6, "tag": "pvedaemon", "pid": 1000, "node": node, "user": "root@pam"}
        found.append({**common, "time": when, "msg": f"successful auth for user '{user}'"})
    found.sort(key=lambda entry: entry["time"])
    return [{"uid": number, "id": f"{number}:{node}", **entry} for number, entry in enumerate(found, 1)]


@route("GET", "/cluster/log")
def log(call: Call) -> list[dict[str, Any]]:
    """The newest entries; who may not read logs sees their own."""
    found = _entries(call)[::-1]
    if not call.allowed("/", "Sys.Syslog"):
        found = [entry for entry in found if entry["user"] == call.user]
    return found[: call.number("max") or 50]
