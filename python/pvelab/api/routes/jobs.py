"""Scheduled jobs other than backups: synchronisation of realms, and what a schedule means."""

from __future__ import annotations

import time
from typing import Any

from .. import calendarevent
from ..errors import bad, failure
from ..registry import Call, index, route
from ..sections import section, typed
from ..words import split_list
from .access_realms import DIRECTORIES, realms

BASE = "/cluster/jobs"
SYNC = BASE + "/realm-sync"
index(BASE, "subdir", "schedule-analyze", "realm-sync")
OPTIONS = section("realm! schedule scope", "comment enable-new enabled remove-vanished")


@route("GET", BASE + "/schedule-analyze")
def analyze(call: Call) -> list[dict[str, Any]]:
    """The next times that a schedule means."""
    moment: int | None = call.number("starttime", int(time.time()))
    found: list[dict[str, Any]] = []
    while len(found) < call.number("iterations", 10) and moment is not None:
        moment = calendarevent.following(str(call["schedule"]), moment)
        if moment is not None:
            found.append({"timestamp": moment, "utc": time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(moment))})
    return found


@route("GET", SYNC)
def listing(call: Call) -> list[dict[str, Any]]:
    """All synchronisation jobs with the time of their next run."""
    found = []
    for name, job in call.pve.table("realm_sync").items():
        coming = calendarevent.following(job["schedule"], int(time.time()))
        found.append({**job, "type": "realm-sync", "id": name, "last-run": None, "next-run": coming})
    return found


@route("GET", SYNC + "/{id}")
def get(call: Call) -> dict[str, Any]:
    """One synchronisation job."""
    return {**_job(call), "type": "realm-sync"}


def _job(call: Call) -> dict[str, Any]:
    found: dict[str, Any] | None = call.pve.table("realm_sync").get(call["id"])
    if found is None:
        raise bad(id=f"No such job '{call['id']}'")
    return found


def _options(call: Call) -> dict[str, Any]:
    return {k: v for k, v in call.params.items() if k not in ("id", "delete")}


@route("POST", SYNC + "/{id}")
def create(call: Call) -> None:
    """Makes a synchronisation job."""
    name, new = str(call["id"]), _options(call)
    with call.pve.cluster.lock:
        if name in {*call.pve.table("realm_sync"), *call.pve.table("backup")}:
            raise failure(f"Job '{name}' already exists")
        OPTIONS.check(new, True)
        realm = realms(call).get(new["realm"])
        if realm is None:
            raise failure(bad(realm=f"No such realm '{new['realm']}'").text)
        if realm["type"] not in DIRECTORIES:
            raise failure(bad(realm="Only LDAP/AD realms can be synced.").text)
        call.pve.table("realm_sync")[name] = typed(f"POST {SYNC}/{{id}}", new)
        call.pve.cluster.save()


@route("PUT", SYNC + "/{id}")
def update(call: Call) -> None:
    """Changes a synchronisation job."""
    new, delete = _options(call), split_list(str(call.get("delete", "")))
    if not new:
        raise failure("no job options specified")
    with call.pve.cluster.lock:
        OPTIONS.check(new, False)
        job = call.pve.table("realm_sync").get(call["id"])
        if job is None:
            raise failure("no such realm-sync job")
        OPTIONS.remove(delete, new)
        for key in delete:
            job.pop(key, None)
        job |= typed(f"POST {SYNC}/{{id}}", new)
        call.pve.cluster.save()


@route("DELETE", SYNC + "/{id}")
def delete(call: Call) -> None:
    """Removes a synchronisation job."""
    with call.pve.cluster.lock:
        if call.pve.table("realm_sync").pop(call["id"], None) is None:
            raise failure(bad(id=f"No such job '{call['id']}'").text)
        call.pve.cluster.save()
