"""Faults of single changes, as data: lost answers, gateways, tasks that end badly or never, full storages, locks."""

from __future__ import annotations

from tests.contract.faults import (
    ALWAYS,
    Case,
    clear,
    config_is,
    one_create_each,
    pin_by_hand,
    remove,
    task_runs,
    wait_for,
)

LXC, QEMU, RESOURCES = "^/nodes/pve/lxc$", "^/nodes/pve/qemu$", "^/cluster/resources$"
START, API = "/status/start$", "^/(nodes|cluster|pools|access)"
# Every kind of change that aihub makes: in which run, and where.
KINDS = {
    "create a container": ("up", "POST", LXC),
    "create a VM": ("up", "POST", QEMU),
    "edit a container": ("up", "PUT", "/lxc/110/config$"),
    "edit a VM": ("up", "PUT", "/qemu/201/config$"),
    "grow a disk": ("up", "PUT", "/resize$"),
    "start": ("up", "POST", START),
    "shut down": ("change", "POST", "/status/shutdown$"),
    "stop": ("down", "POST", "/status/stop$"),
    "destroy a container": ("down", "DELETE", "^/nodes/pve/lxc/110$"),
    "destroy a VM": ("down", "DELETE", "^/nodes/pve/qemu/201$"),
}


def on_every_kind(fault: str, weakening: str, weak_on: str, **rule: object) -> list[Case]:
    """A fault that the run gets over by itself, on every kind of change."""
    return [
        Case(
            fault,
            f"{rule['kind']} {rule.get('status', '')} {kind}",
            run,
            ({"method": method, "path": path, **rule},),
            check=one_create_each if run == "up" else None,
            weakening=weakening if kind == weak_on else "",
        )
        for kind, (run, method, path) in KINDS.items()
    ]


ONCE, BLIND = "a call is tried once", "a lost change is sent again without a look"
BEFORE, AFTER = "answer lost before the change was made", "answer lost after the change was made"
GATEWAY = "gateway answers (595, 596, 599)"
LOST = [
    *on_every_kind(BEFORE, ONCE, "start", kind="drop-before"),
    *on_every_kind(AFTER, BLIND, "edit a container", kind="drop-after"),
    *on_every_kind(GATEWAY, ONCE, "create a VM", kind="status", status=595, message="Connection refused"),
    Case(GATEWAY, "596 to a read", rules=({"kind": "status", "status": 596, "method": "GET", "path": RESOURCES},)),
    Case(GATEWAY, "599 to a read", rules=({"kind": "status", "status": 599, "method": "GET", "path": "/pending$"},)),
    *(
        Case(
            GATEWAY,
            f"{status} twice, {method}",
            rules=({"kind": "status", "status": status, "method": method, "path": path, "count": 2},),
            job={"pause": 0.2},
        )
        for status in (595, 596, 599)
        for method, path in (("GET", "/pending$"), ("POST", LXC))
    ),
    *(
        Case(
            "gateway answers without end",
            f"{status} {count or 'for ever'}, {method}",
            rules=({"kind": "status", "status": status, "method": method, "path": path, "count": count},),
            code=1,
            says=(str(status), "next: "),
            job={"pause": 0.2},
            requests=80,
            weakening="calls are tried for ever and without a pause" if (status, count) == (599, ALWAYS) else "",
            at_most=20 if count == ALWAYS else 60,
        )
        for status, count, method, path in (
            (595, 10, "GET", RESOURCES),
            (596, 10, "POST", LXC),
            (599, ALWAYS, "GET", API),
        )
    ),
]
TASKS = [
    *(
        Case(
            "a task that fails",
            f"failing {kind}",
            run,
            ({"kind": "task-fail", "method": method, "path": path, "message": "pvelab says no"},),
            1,
            ("pvelab says no", "UPID:", "TASK ERROR"),
            mend=clear,
            weakening="every end of a task is a good one" if kind == "start" else "",
        )
        for kind, (run, method, path) in KINDS.items()
        if "edit" not in kind
    ),
    Case(
        "a task that hangs",
        "hanging start",
        rules=({"kind": "task-hang", "method": "POST", "path": START, "seconds": 300},),
        code=1,
        says=("not over yet", "UPID:pve:", ":vzstart:110:", "task list"),
        job={"task_time": 1.5},
        check=task_runs("vzstart"),
        mend=clear,
        at_most=15,
        weakening="a task that is late is stopped",
    ),
    *(
        Case(
            "a task that hangs",
            f"hanging {name}",
            run,
            ({"kind": "task-hang", "method": method, "path": path, "seconds": 300},),
            1,
            ("not over yet", "UPID:pve:", f":{kind}:"),
            {"task_time": 1.5},
            check=task_runs(kind),
            mend=clear,
            at_most=15,
        )
        for name, run, method, path, kind in (
            ("create", "up", "POST", LXC, "vzcreate"),
            ("destroy", "down", "DELETE", "^/nodes/pve/qemu/201$", "qmdestroy"),
        )
    ),
    Case(
        "a task that vanishes",
        "vanished start that was done",
        rules=({"kind": "task-vanish", "method": "POST", "path": START},),
        code=1,
        says=("UPID:pve:", "no such task"),
    ),
    Case(
        "a task that vanishes",
        "vanished create that was never done",
        rules=tuple({"kind": k, "method": "POST", "path": LXC, "seconds": 3} for k in ("task-hang", "task-vanish")),
        code=1,
        says=("UPID:pve:", "no such task"),
        mend=lambda lab: (wait_for(lab, 110), remove(lab, 110)),
        weakening="a task that nobody knows has ended well",
    ),
    Case(
        "a task that vanishes",
        "vanished create whose guest is kept",
        rules=tuple({"kind": k, "method": "POST", "path": LXC, "seconds": 3} for k in ("task-hang", "task-vanish")),
        code=1,
        says=("UPID:pve:", "no such task"),
        mend=lambda lab: (wait_for(lab, 110), clear(lab), pin_by_hand(lab, "db", "10.10.10.11")),
    ),
    *(
        Case(
            "a task with warnings",
            f"warning of {kind}",
            rules=({"kind": "task-warn", "method": method, "path": path},),
            weakening="warnings are failures" if kind == "start" else "",
        )
        for kind, (run, method, path) in KINDS.items()
        if run == "up" and "edit" not in kind and "grow" not in kind
    ),
]
FULL = [
    Case(
        "storage full",
        f"full at {kind}",
        run,
        ({"kind": "storage-full", "method": method, "path": path},),
        1,
        ("No space left on device",),
        mend=clear,
        weakening="every end of a task is a good one" if kind == "grow a disk" else "",
    )
    for kind, (run, method, path) in KINDS.items()
    if kind in ("create a container", "grow a disk")
]
LOCKS = [
    Case(
        "a lock held by another task",
        "guest locked by a backup",
        "change",
        code=4,  # before any guest is touched
        says=("it is locked (backup)", "pct unlock 110"),
        before=lambda lab: lab.root("PUT", "/nodes/pve/lxc/110/config", lock="backup"),
        mend=lambda lab: lab.root("DELETE", "/pvelab/locks/110"),
        check=config_is(110, memory=1024),
        weakening="a guest's lock is not looked at",
    ),
    Case(
        "a lock held by another task",
        "config lock held for ten seconds at an edit",
        "change",
        ({"kind": "lock", "method": "PUT", "path": "/lxc/110/config$"},),
    ),
    Case(
        "a lock held by another task",
        "config lock held for ten seconds at a start",
        "up",
        ({"kind": "lock", "method": "POST", "path": "/lxc/110/status/start$"},),
        1,
        ("can't lock file", "got timeout", "UPID:"),
    ),
]

OF_CHANGES = [*LOST, *TASKS, *FULL, *LOCKS]
