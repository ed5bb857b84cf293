"""Runs aihub's verbs in child processes that may die: one line of JSON in, one line out, per run.

The imports are done once; each run is a fork of this process, so that a few hundred killed runs fit into a test. What
runs in it is the command line's own `perform`; only the programs that reach a node are stood in for (stand_ins.py).
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

# What the product imports lazily is imported here once, for all runs.
import proxmoxer.backends.https  # noqa: F401
import requests.adapters  # noqa: F401
import typer
from aihub import cli, crashpoint, paths, report
from aihub.guests import probe
from aihub.options import Options
from aihub.owners import hub as hub_owner
from aihub.owners import run as owners_run
from aihub.plan import Plan
from aihub.proxmox import client as proxmox
from aihub.proxmox import tasks as proxmox_tasks
from aihub.proxmox.guests import create as provision_create
from aihub.proxmox.guests import desired, provision
from aihub.proxmox.guests import site as provision_site
from aihub.reading import load
from aihub.verbs import down, plan, power, restart, start, status, stop, trust, up  # noqa: F401

from tests.contract import weakened
from tests.contract.rooted import Root
from tests.contract.stand_ins import Node

report.plan  # noqa: B018  (loads what the report needs)


def perform(job: dict[str, Any]) -> int:
    """The verbs of a job, one after the other until one does not end with 0."""
    options = Options(
        hub=Path(job["hub"]),
        target="pve",
        scope=job.get("scope", "api"),
        yes=True,
        no_verify=True,
        as_json=job.get("as_json", False),
        allow_destroy=frozenset(job["allow"]),
        only=tuple(job.get("only", ())),
    )
    for verb in job["verbs"]:
        try:
            cli.perform(verb, options)
        except typer.Exit as end:
            if end.exit_code:
                return int(end.exit_code)
    return 0


def prepare(job: dict[str, Any]) -> None:
    """Environment, stand-ins, and what the job wants to be different."""
    certificate = Path(job["certificate"])
    root = Root(job["port"], certificate, ticket=job["ticket"])
    Node(root, certificate, Path(job["lease"])).install()
    os.environ["AIHUB_STATE"] = job["state"]
    os.environ.update(job.get("environment", {}))
    probe._AFTER = job.get("after", probe._AFTER)
    # A write that is answered within two milliseconds cannot be met inside; the server is near.
    proxmox.LOOK_PAUSE = 0.05
    proxmox.PAUSE = job.get("pause", 0.05)
    proxmox_tasks.FIRST, proxmox_tasks.GRACE = 0.02, 0.5
    for module in (provision, provision_create, provision_site):
        module.TASK_TIME = job.get("task_time", 30.0)
    down.LEFTOVER_PATIENCE = 0.5
    port = job["port"]
    owners_run.Proxmox = lambda host, _, token, pinned: proxmox.Proxmox("127.0.0.1", port, token, pinned)
    if edit := job.get("between"):
        _between(root, *edit)
    if moments := job.get("interrupt"):
        _interrupt(job["interrupt_at"], moments)
    if values := job.get("root_only"):
        _root_only(values)
    if name := job.get("weaken"):
        weakened.apply(name)


def _root_only(values: dict[str, str]) -> None:
    """Every container gets what only root may set, as those with a GPU will."""
    make = desired.wanted

    def wanted(*arguments: Any) -> desired.Wanted:
        found = make(*arguments)
        return replace(found, root_only=values) if found.guest.kind == "lxc" else found

    desired.wanted = wanted


def _interrupt(what: str, moments: list[float]) -> None:
    """Ctrl-C some seconds after a certain write has begun, once for each moment."""
    write, begun = crashpoint.write, threading.Event()

    def watched(name: str) -> Any:
        if name == what and not begun.is_set():
            begun.set()
            for moment in moments:
                timer = threading.Timer(moment, os.kill, (os.getpid(), signal.SIGINT))
                timer.daemon = True
                timer.start()
        return write(name)

    crashpoint.write = watched


def _between(root: Root, when: str, kind: str, vmid: int, values: dict[str, Any]) -> None:
    """Somebody edits a guest after the plan was shown, or after the last look before the change."""

    def edit() -> None:
        root("PUT", f"/nodes/pve/{kind}/{vmid}/config", **values)

    if when == "shown":
        shown = hub_owner.show_plan
        up.LOOK = (*up.LOOK[:-1], lambda run: (shown(run), edit()))
    else:
        change = provision.apply

        def late(*arguments: Any, **named: Any) -> Any:
            edit()
            return change(*arguments, **named)

        provision.apply = late


def child(job: dict[str, Any], gate: tuple[int, int] | None) -> None:
    """Does one run and leaves this process with its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 1
    try:
        prepare(job)
        if gate:
            _meet(job["race"], gate[0])
        crash = job["crash"]
        if crash.startswith("after "):
            # Nobody handles the alarm: the kernel ends the process as abruptly as SIGKILL does.
            signal.setitimer(signal.ITIMER_REAL, float(crash.split()[1]))
        elif crash:
            os.environ["AIHUB_CRASH_AT"] = crash
        code = perform(job)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
            Path(job["made"]).write_text(json.dumps(crashpoint.made()))
            if peak := job.get("peak"):
                Path(peak).write_text(_peak())
        os._exit(code)


def _peak() -> str:
    """The most memory that this process had, in KiB; at its beginning it has what it was forked with."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("VmHWM:"))


def _meet(where: str, gate: int) -> None:
    """In a race, who got in stays in until the other has ended: the gate is closed by then."""

    def wait(_: Any) -> None:
        os.read(gate, 1)

    if where == "lock":
        up.LOOK = (wait, *up.LOOK)
    else:
        Plan.is_empty = property(lambda _: False)  # the lease is taken where something is to be done
        up.AGREE = (*up.AGREE, wait)


def together(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs of several jobs at the same time, each to its end or to its limit."""
    gate = os.pipe() if jobs[0].get("race") else None
    started = time.monotonic()
    children: dict[int, tuple[int, int]] = {}  # by pidfd: index, pid
    for index, job in enumerate(jobs):
        Path(job["made"]).unlink(missing_ok=True)
        pid = os.fork()
        if not pid:
            if gate:
                os.close(gate[1])
            child(job, gate)
        children[os.pidfd_open(pid)] = (index, pid)
    results: list[dict[str, Any]] = [{} for _ in jobs]
    while children:
        ready, _, _ = select.select(list(children), [], [], max(0.0, started + jobs[0]["limit"] - time.monotonic()))
        for handle in ready or list(children):
            index, pid = children.pop(handle)
            if not ready:
                os.kill(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.close(handle)
            seconds = time.monotonic() - started
            results[index] = {"code": code, "pid": pid, "seconds": seconds, "late": not ready}
        if gate and ready:
            os.close(gate[1])
            os.close(gate[0])
            gate = None
    return results


def main() -> None:
    """Reads jobs until standard input ends."""
    os.environ.update(COLUMNS="4000", NO_COLOR="1")
    load.load(paths.DEFAULT_HUB, target="lab")  # what reading a hub needs is loaded and compiled
    gc.freeze()  # a child copies no page only for having looked at it
    for line in sys.stdin:
        sys.stdout.write(json.dumps(together(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
