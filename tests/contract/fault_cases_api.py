"""Faults of the way to Proxmox, as data: tokens, clocks, unreadable answers, certificates, power cuts, other people,
and Ctrl-C."""

from __future__ import annotations

import time

from tests.contract.fault_cases import API, LXC, RESOURCES, START
from tests.contract.faults import (
    ALWAYS,
    Case,
    clear,
    config_is,
    new_certificate,
    old_certificate,
    one_create_each,
    power_cut,
    reach,
    restart,
    task_runs,
    unlock,
    wrote,
    wrote_nothing,
)

# The name of the token alone is in every task id, too.
REFUSED = "does not accept the token of hub-small@pve!hub"
TOKENS = [
    Case(
        "token revoked half-way",
        "revoked at a start",
        rules=({"kind": "token-revoked", "method": "POST", "path": START, "count": ALWAYS},),
        code=1,
        says=(REFUSED,),
        weakening="a refused change counts as done",
    ),
    *(
        Case(
            "token revoked half-way",
            f"revoked after {count} requests",
            rules=({"kind": "token-revoked", "path": API, "count": ALWAYS, "skip": count},),
            code=code,
            says=(REFUSED,),
            check=wrote if code == 1 else wrote_nothing,
        )
        # About the thirtieth request, later on a busy machine, is the first change: refused before it, failed after it.
        for count, code in ((20, 4), (38, 1), (48, 1))
    ),
    Case(
        "token revoked half-way",
        "revoked before the host keys are read",
        rules=({"kind": "token-revoked", "path": "^/nodes/pve/tasks/.*/log$", "count": ALWAYS},),
        code=1,
        says=(REFUSED,),
        check=wrote,
    ),
    Case(
        "token revoked half-way",
        "revoked before the last look",
        rules=({"kind": "token-revoked", "path": RESOURCES, "count": ALWAYS, "skip": 4},),
        code=1,
        says=(REFUSED,),
        check=wrote,
    ),
    Case(
        "token refused from the start",
        "plan with a refused token",
        "plan",
        ({"kind": "token-revoked", "path": API, "count": ALWAYS},),
        3,
        ("token hub-small@pve!hub", "plan: 1 to update"),
        check=wrote_nothing,
        weakening="a refused token means that no guest is there",
    ),
    Case(
        "token refused from the start",
        "up with a refused token",
        "change",
        ({"kind": "token-revoked", "path": "^/(nodes/pve/(lxc|qemu)|cluster|pools)", "count": ALWAYS},),
        1,
        (REFUSED,),
        check=wrote_nothing,
    ),
]
CLOCKS = [
    Case(
        "clock one hour off",
        f"{word} at {run}",
        run,
        ({"kind": "clock", "seconds": seconds, "count": ALWAYS},),
        4,
        (f"s {word} this machine's", "NTP"),
        check=wrote_nothing,
        weakening="clocks are not compared" if (word, run) == ("ahead of", "up") else "",
    )
    for word, seconds in (("ahead of", 3600), ("behind", -3600))
    for run in ("up", "change", "down")
]
ANSWERS = [
    *(
        Case(
            "answers that cannot be read",
            f"{body} to every read",
            "change",
            ({"kind": "answer", "body": body, "method": "GET", "path": RESOURCES, "count": ALWAYS},),
            1,
            ("next: ",),
            check=wrote_nothing,
            weakening="an answer that cannot be read counts as an empty one" if body == "html" else "",
        )
        for body in ("cut", "truncated", "html", "garbage", "empty", "null", "shape")
    ),
    *(
        Case(
            "answers that cannot be read",
            f"{body} to a create",
            rules=({"kind": "answer", "body": body, "method": "POST", "path": LXC},),
            check=one_create_each,
        )
        for body in ("cut", "truncated", "html", "garbage", "empty", "null", "shape")
    ),
]
OTHERS = [
    Case(
        "another TLS certificate",
        "certificate changed",
        "change",
        code=4,
        says=("another certificate than the pinned one", "aihub trust"),
        before=new_certificate,
        mend=old_certificate,
        check=wrote_nothing,
        weakening="any certificate will do",
    ),
    Case(
        "the server dies",
        "in a create",
        rules=({"kind": "task-hang", "method": "POST", "path": LXC, "seconds": 60},),
        code=1,
        before=reach,
        during=power_cut("vzcreate"),
        check=lambda place: restart(place.lab) or [],
        mend=unlock,
        weakening="no intent is written before a create",
    ),
    Case(
        "the server dies",
        "in a destroy",
        "down",
        ({"kind": "task-hang", "method": "DELETE", "path": "^/nodes/pve/lxc/110$", "seconds": 60},),
        1,
        during=power_cut("vzdestroy"),
        check=lambda place: restart(place.lab) or [],
        mend=clear,
    ),
    *(
        Case(
            "guest edited between plan and change",
            f"edited after the plan was {when}",
            "change",
            code=6 if when == "shown" else 1,
            says=("somebody changed", "aihub plan"),
            job={"between": [when, "lxc", 110, {"cores": 1}]},
            check=config_is(110, cores=1, memory=1024),
            weakening="no digest is compared" if when == "shown" else "",
        )
        for when in ("shown", "made")
    ),
]


def no_new_work(place):
    """After the Ctrl-C nothing was begun: the two creates were all."""
    begun = [what for what in place.hub.made if what.split()[0] in ("POST", "PUT", "DELETE")]
    return [] if set(begun) <= {"POST /nodes/pve/lxc", "POST /nodes/pve/qemu"} else [f"begun after Ctrl-C: {begun}"]


def within(least, most):
    """How long the run may have taken."""
    return lambda place: [] if least <= place.hub.last.seconds <= most else [f"it took {place.hub.last.seconds:.1f} s"]


INTERRUPTED = "interrupted: nothing new was started"
BOTH = "^/nodes/pve/(lxc|qemu)$"
CTRL_C = [
    Case(
        "Ctrl-C",
        "creates that end soon",
        rules=({"kind": "task-hang", "method": "POST", "path": BOTH, "seconds": 2, "count": ALWAYS},),
        code=130,
        says=(INTERRUPTED,),
        job={"interrupt": [1.0], "interrupt_at": "POST /nodes/pve/lxc"},
        check=no_new_work,
        weakening="Ctrl-C stops nothing",
    ),
    Case(
        "Ctrl-C",
        "creates that hang are waited for ten seconds",
        rules=({"kind": "task-hang", "method": "POST", "path": BOTH, "seconds": 300, "count": ALWAYS},),
        code=130,
        says=(INTERRUPTED,),
        job={"interrupt": [0.5], "interrupt_at": "POST /nodes/pve/lxc"},
        check=lambda place: [*no_new_work(place), *within(10, 25)(place), *task_runs("vzcreate")(place)],
        mend=clear,
    ),
    Case(
        "Ctrl-C",
        "a second Ctrl-C does not wait",
        rules=({"kind": "task-hang", "method": "POST", "path": BOTH, "seconds": 300, "count": ALWAYS},),
        code=130,
        says=(INTERRUPTED,),
        job={"interrupt": [0.5, 1.5], "interrupt_at": "POST /nodes/pve/lxc"},
        check=lambda place: [*no_new_work(place), *within(1.5, 9)(place), *task_runs("vzcreate")(place)],
        mend=clear,
    ),
    Case(
        "Ctrl-C",
        "while the API hangs",
        "change",
        ({"kind": "delay", "method": "PUT", "path": "/config$", "seconds": 20, "count": ALWAYS},),
        130,
        (INTERRUPTED,),
        {"interrupt": [0.5], "interrupt_at": "PUT /nodes/pve/lxc/110/config"},
        check=within(10, 19),
        mend=lambda lab: time.sleep(10),  # until the delayed edits have landed
    ),
]

OF_THE_WAY = [*TOKENS, *CLOCKS, *ANSWERS, *OTHERS, *CTRL_C]
