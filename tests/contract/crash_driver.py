"""Runs aihub's provisioning in child processes that may die: one line of JSON in, one line out, per run.

The imports are done once; each run is a fork of this process, so that a few hundred killed runs fit into a test.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

# What the adapter imports lazily is imported here once, for all runs.
import requests.adapters  # noqa: F401
from aihub import load, lock, provision
from aihub.adapters import proxmox
from aihub.adapters.proxmox import Proxmox
from aihub.errors import HubError
from aihub.journal import Journal
from aihub.paths import State

KEYS = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7Zl0 test"]


def perform(job: dict[str, Any]) -> int:
    """One `up`, `down` or `plan` of the Proxmox objects; plan gives 3 when something is to be done."""
    hub = load.load(Path(job["hub"]), Path(job["hub"]).parent / "stacks", target="lab")
    state = State(Path(job["state"]))
    px = Proxmox("127.0.0.1", job["port"], state.token.read_text(), state.certificate)
    allow = frozenset(job.get("allow", ()))
    if job["verb"] == "plan":
        entries = Journal(state.journal).entries()
        return 0 if provision.plan(hub, px.read(hub), KEYS, journal=entries, allow_destroy=allow).is_empty else 3

    def progress(_subject: str, _text: str) -> None:
        pass

    with lock.held(state.lock, job["verb"]):
        journal = Journal(state.journal)
        provision.recover(px, hub, journal, progress)
        actual = px.read(hub)
        if job["verb"] == "down":
            provision.down(px, hub, provision.down_plan(hub, actual), journal, progress)
            return 0
        changes = provision.plan(hub, actual, KEYS, journal=journal.entries(), allow_destroy=allow)
        if edit := job.get("between"):
            kind, vmid, values = edit
            px.write("put", f"/nodes/pve/{kind}/{vmid}/config", values, landed=lambda: None)
        created = provision.apply(px, hub, changes, journal, progress, keys=KEYS, allow_destroy=allow)
        (state.directory / "created.json").write_text(json.dumps({g.name: g.fingerprints for g in created}))
        for guest in created:
            provision.contacted(journal, hub, guest.name)
    return 0


def child(job: dict[str, Any]) -> None:
    """Does one run and leaves this process with its exit code."""
    crash = job.get("crash", "")
    if crash.startswith("after "):
        # Nobody handles the alarm: the kernel ends the process as abruptly as SIGKILL does.
        signal.setitimer(signal.ITIMER_REAL, float(crash.split()[1]))
    elif crash:
        os.environ["AIHUB_CRASH_AT"] = crash
    code = 1
    try:
        code = perform(job)
    except HubError as error:
        Path(job["state"], "error.txt").write_text(f"{error}\nhint: {error.hint}\n")
        code = error.exit_code
    except BaseException:
        Path(job["state"], "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def main() -> None:
    """Reads jobs until standard input ends; several in one line run at the same time."""
    proxmox.LOOK_PAUSE = proxmox.PAUSE = 0.05  # this server is near and answers at once
    for line in sys.stdin:
        jobs = json.loads(line)
        pids = []
        for job in jobs:
            pid = os.fork()
            if not pid:
                child(job)
            pids.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        sys.stdout.write(json.dumps(codes) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
