"""Guests in parallel: one's error does not stop the others, and Ctrl-C starts nothing new."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping

from aihub import interrupt
from aihub.errors import Conflict, HubError, PreconditionFailed, TaskFailed
from aihub.parallel import NOTICE, PATIENCE
from aihub.proxmox.errors import AccessRefused

from .site import Site, Stopped

WORKERS = 8

Job = Callable[[], None]


def run(site: Site, jobs: Mapping[str, tuple[str, Job]]) -> None:
    """Does the jobs, each of a named guest; their errors are raised as one when all are over."""
    failed: dict[str, BaseException] = {}

    def guarded(name: str) -> Job:
        guest, job = jobs[name]

        def work() -> None:
            try:
                job()
            except Stopped:
                return
            except BaseException as error:
                failed[name] = error
                site.progress(guest, f"failed: {str(error).splitlines()[0] if str(error) else error!r}")
                if isinstance(error, AccessRefused) and error.status == 401:
                    site.stop.set()  # no call can succeed any more

        return work

    _side_by_side(site, [guarded(name) for name in jobs])
    _raise(site, {jobs[name][0]: error for name, error in failed.items()})


def _side_by_side(site: Site, jobs: list[Job]) -> None:
    """Runs the jobs on daemon threads: a hanging call cannot hold up Ctrl-C for longer than PATIENCE."""
    todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        todo.put(job)

    def work_off() -> None:
        while not site.stop.is_set():
            try:
                job = todo.get_nowait()
            except queue.Empty:
                return
            job()

    names = [f"guest-{number}" for number in range(min(WORKERS, len(jobs)))]
    threads = [threading.Thread(target=work_off, daemon=True, name=name) for name in names]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                interrupt.require_none()
                thread.join(NOTICE)
    except KeyboardInterrupt:
        site.stop.set()
        limit = time.monotonic() + PATIENCE
        for thread in [t for t in threads if t.is_alive()]:
            thread.join(max(0.0, limit - time.monotonic()))
        raise


def _raise(site: Site, failed: Mapping[str, BaseException]) -> None:
    """One error as it is, several as one; what failed after a change was made is never `nothing changed`."""
    if not failed:
        return
    for error in failed.values():
        if not isinstance(error, HubError):
            raise error
    known = {name: e for name, e in failed.items() if isinstance(e, HubError)}
    text = "\n".join(f"guest {name}: {error}" for name, error in known.items())
    hint = "; ".join(dict.fromkeys(e.hint for e in known.values() if e.hint)) or "run the same command again"
    first = next(iter(known.values()))
    kind: type[HubError] = TaskFailed
    if all(isinstance(e, Conflict) for e in known.values()):
        kind = Conflict
    elif not site.writes and all(isinstance(e, PreconditionFailed) for e in known.values()):
        kind = PreconditionFailed
    raise kind(text, hint=hint) from first
