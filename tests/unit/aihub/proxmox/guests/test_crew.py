"""Guests in parallel: one's error does not stop the others, Ctrl-C starts nothing new."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from aihub.errors import Conflict, PreconditionFailed, TaskFailed
from aihub.proxmox.errors import AccessRefused
from aihub.proxmox.guests import crew
from aihub.proxmox.guests.site import Site
from aihub.state.journal import Journal


@pytest.fixture
def site(hub, tmp_path):
    return Site(None, hub, Journal(tmp_path / "journal.json"), lambda *_: None)


@pytest.fixture
def run(site):
    """Runs jobs by name; gives the names of those that were started."""

    def go(jobs):
        go.started = []

        def noted(name):
            def job():
                go.started.append(name)
                jobs[name]()

            return job

        crew.run(site, {name: (name, noted(name)) for name in jobs})

    return go


def failing(error):
    def job():
        raise error

    return job


def test_the_error_of_one_guest_does_not_stop_the_others(run):
    with pytest.raises(TaskFailed, match="guest a: no space"):
        run({"a": failing(TaskFailed("no space")), "b": lambda: None, "c": lambda: None})
    assert sorted(run.started) == ["a", "b", "c"]


def test_several_errors_are_told_together(run):
    with pytest.raises(TaskFailed, match=r"(?s)guest a: one.*guest b: two"):
        run({"a": failing(TaskFailed("one")), "b": failing(Conflict("two"))})


def test_only_conflicts_are_a_conflict(run):
    with pytest.raises(Conflict):
        run({"a": failing(Conflict("one")), "b": failing(Conflict("two"))})


def test_nothing_changed_is_only_said_when_nothing_was(run, site):
    jobs = {"a": failing(PreconditionFailed("locked"))}
    with pytest.raises(PreconditionFailed):
        run(jobs)
    site.writes = 1
    with pytest.raises(TaskFailed):
        run(jobs)


def test_a_defect_is_not_dressed_up(run):
    with pytest.raises(ZeroDivisionError):
        run({"a": failing(ZeroDivisionError())})


def test_a_refused_token_stops_the_run(run, site):
    jobs = {f"g{n}": failing(AccessRefused("no", status=401)) for n in range(100)}
    with pytest.raises(PreconditionFailed):
        run(jobs)
    assert len(run.started) < 100
    assert site.stop.is_set()


def test_ctrl_c_starts_nothing_new_and_waits_for_what_runs(run, site):
    finished = []

    begun = threading.Barrier(crew.WORKERS)

    def first():
        begun.wait(5)
        os.kill(os.getpid(), signal.SIGINT)

    def running():
        begun.wait(5)
        site.stop.wait(5)
        time.sleep(0.2)
        finished.append(1)

    jobs = {"first": first, **{f"r{n}": running for n in range(crew.WORKERS - 1)}}
    jobs |= {f"late{n}": lambda: site.stop.wait(1) for n in range(200)}
    with pytest.raises(KeyboardInterrupt):
        run(jobs)
    assert len(finished) == crew.WORKERS - 1
    assert len(run.started) < len(jobs)


def test_ctrl_c_that_the_kernel_gives_to_a_worker_is_heard_all_the_same(run, site):
    """Python handles a signal in the main thread, which nothing wakes up when another one was given it."""

    def worker():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        time.sleep(0.3)  # the main thread waits by now
        os.kill(os.getpid(), signal.SIGINT)
        site.stop.wait(5)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            run({"worker": worker})
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    assert time.monotonic() - started < 4


def test_ctrl_c_does_not_wait_for_ever(run, site, monkeypatch):
    monkeypatch.setattr(crew, "PATIENCE", 0.2)
    release = threading.Event()

    def hanging():
        os.kill(os.getpid(), signal.SIGINT)
        release.wait(20)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run({"a": hanging})
    release.set()
    assert time.monotonic() - started < 2
