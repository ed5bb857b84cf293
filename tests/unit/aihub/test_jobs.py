"""Each job begins as soon as what it rests on is done; what fails stops what rests on it, and nothing else."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aihub import interrupt, jobs
from aihub.errors import HubError, Locked, TaskFailed
from aihub.jobs import Crew, Ended, Job, Result

MOMENT = 10.0  # seconds after which a test that waits has failed


class Done:
    """What was done, in order; some of it fails, some waits until a test lets it go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.calls: list[list[str]] = []
        self.failing: dict[str, BaseException] = {}
        self.gates: dict[str, threading.Event] = {}

    def work(self, subjects: Sequence[str], ended: Ended) -> None:
        self.calls.append(list(subjects))
        for subject in subjects:
            self.begun.append(subject)
            if subject in self.gates:
                assert self.gates[subject].wait(MOMENT)
            error = self.failing.get(subject)
            if error is not None and not isinstance(error, HubError):
                raise error
            ended(subject, error)

    def crew(self, **options: Any) -> Crew:
        return Crew(self.work, **options)


@pytest.fixture
def done() -> Done:
    return Done()


def free() -> None:
    """Nothing keeps a call from being begun."""


def run(todo: Sequence[Job], may_begin: Callable[[], None] = free, **options: Any) -> dict[str, Result]:
    return jobs.run(todo, may_begin, threading.Event(), **options)


def job(crew: Crew, name: str, *rests_on: str, after: Sequence[str] = (), place: str = "") -> Job:
    return Job(name, name, crew, frozenset(rests_on), frozenset(after), place)


def test_what_rests_on_something_begins_when_that_is_done(done: Done) -> None:
    crew = done.crew()
    results = run([job(crew, "c", "b"), job(crew, "b", "a"), job(crew, "a")])
    assert done.begun == ["a", "b", "c"]
    assert list(results) == ["c", "b", "a"]
    assert all(result.done for result in results.values())


def test_nobody_waits_for_what_it_does_not_rest_on(done: Done) -> None:
    """`slow` ends only when all that rests on `quick` has ended."""
    crew, done.gates["slow"] = done.crew(), threading.Event()

    def told(job: Job, result: Result) -> None:
        if job.key == "after quick":
            done.gates["slow"].set()

    results = run([job(crew, "slow"), job(crew, "quick"), job(crew, "after quick", "quick")], told=told)
    assert all(result.done for result in results.values()), "or `slow` would have lost its patience"


def test_a_failure_stops_what_rests_on_it_however_far_and_all_else_is_done(done: Done) -> None:
    crew, done.failing["a"] = done.crew(), TaskFailed("broken")
    results = run([job(crew, "a"), job(crew, "b", "a"), job(crew, "c", "b", "d"), job(crew, "d"), job(crew, "e", "d")])
    assert sorted(done.begun) == ["a", "d", "e"]
    assert {key: (result.done, result.because) for key, result in results.items()} == {
        "a": (False, ""),
        "b": (False, "a"),
        "c": (False, "a"),
        "d": (True, ""),
        "e": (True, ""),
    }
    assert jobs.errors(results) == [done.failing["a"]]


def test_what_comes_after_something_does_so_whatever_its_end(done: Done) -> None:
    crew, done.failing["a"] = done.crew(), TaskFailed("broken")
    results = run([job(crew, "last", after=["a", "b", "c"]), job(crew, "a"), job(crew, "b", "a"), job(crew, "c")])
    assert done.begun[-1] == "last"
    assert results["last"].done


def test_what_is_ready_together_is_one_call_that_tells_of_each(done: Done) -> None:
    crew, done.failing["b"] = done.crew(together=True, most=1), TaskFailed("broken")
    results = run([job(crew, "a"), job(crew, "b"), job(crew, "c", "a"), job(crew, "d", "b")])
    assert done.calls == [["a", "b"], ["c"]]
    assert (results["c"].done, results["d"].because) == (True, "b")


def test_whoever_is_told_of_early_lets_others_begin_while_the_call_goes_on(done: Done) -> None:
    crew, one = done.crew(together=True), done.crew()
    done.gates["slow"] = threading.Event()

    def told(job: Job, result: Result) -> None:
        if job.key == "next":
            done.gates["slow"].set()

    results = run([job(crew, "quick"), job(crew, "slow"), job(one, "next", "quick")], told=told)
    assert done.calls[0] == ["quick", "slow"]
    assert all(result.done for result in results.values())


def test_what_is_ready_a_moment_later_may_still_join_a_call(done: Done) -> None:
    crew, one = done.crew(together=True, gather=MOMENT), done.crew()
    done.gates["late"] = threading.Event()
    threading.Timer(0.3, done.gates["late"].set).start()
    run([job(one, "early"), job(one, "late"), job(crew, "a", "early"), job(crew, "b", "late")])
    assert done.calls[2:] == [["a", "b"]], "and it begins as soon as nobody is at work who could add to it"


def test_two_calls_are_never_at_work_in_one_place(done: Done) -> None:
    there: list[str] = []
    most = 0

    def work(subjects: Sequence[str], ended: Ended) -> None:
        nonlocal most
        there.extend(subjects)
        most = max(most, len(there))
        time.sleep(0.02)
        there.remove(subjects[0])

    one, other = Crew(work), Crew(work)
    run([job(crew, f"{n}", place="db") for n, crew in enumerate([one, other, one, other])])
    assert most == 1


def test_no_more_calls_than_a_crew_can_do_are_side_by_side(done: Done) -> None:
    running, most = 0, 0
    turn = threading.Lock()

    def work(subjects: Sequence[str], ended: Ended) -> None:
        nonlocal running, most
        with turn:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with turn:
            running -= 1

    crew = Crew(work, most=2)
    run([job(crew, f"{n}") for n in range(7)])
    assert most == 2


def test_the_error_of_a_call_is_that_of_everybody_it_did_not_tell_of(done: Done) -> None:
    error = TaskFailed("no answer")

    def work(subjects: Sequence[str], ended: Ended) -> None:
        ended("a", None)
        raise error

    crew = Crew(work, together=True)
    results = run([job(crew, "a"), job(crew, "b"), job(crew, "c")])
    assert [results[name].error for name in "abc"] == [None, error, error]
    assert jobs.errors(results) == [error], "it is one error"


def test_nothing_is_begun_any_more_when_it_may_not(done: Done) -> None:
    """As when the lease is lost: what was begun comes to its end."""
    crew = done.crew()

    def may_begin() -> None:
        if done.begun:
            raise Locked("the lease was lost")

    with pytest.raises(Locked, match="was lost"):
        run([job(crew, "a"), job(crew, "b", "a")], may_begin)
    assert done.begun == ["a"]


def test_a_fault_of_our_own_ends_the_run_when_what_was_begun_is_over(done: Done) -> None:
    crew, done.failing["a"] = done.crew(), KeyError("a fault")
    done.gates["b"] = threading.Event()
    threading.Timer(0.05, done.gates["b"].set).start()
    with pytest.raises(KeyError):
        run([job(crew, "a"), job(crew, "b"), job(crew, "c", "b")])
    assert sorted(done.begun) == ["a", "b"]


def test_jobs_that_wait_for_each_other_are_a_fault(done: Done) -> None:
    crew = done.crew()
    with pytest.raises(AssertionError, match="wait for each other: a, b"):
        run([job(crew, "a", "b"), job(crew, "b", "a")])


def test_ctrl_c_stops_what_is_at_work_and_begins_nothing() -> None:
    stop, begun = threading.Event(), []

    def work(subjects: Sequence[str], ended: Ended) -> None:
        begun.extend(subjects)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        assert stop.wait(MOMENT)

    crew, started = Crew(work), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        jobs.run([job(crew, "a"), job(crew, "b", "a")], free, stop)
    assert begun == ["a"]
    assert time.monotonic() - started < MOMENT / 2


def test_ctrl_c_while_a_run_asks_whether_it_may_go_on_stops_what_is_at_work() -> None:
    """As the lease is renewed, which takes a moment, while a playbook is at work."""
    stop, at_work = threading.Event(), threading.Event()

    def work(subjects: Sequence[str], ended: Ended) -> None:
        at_work.set()
        assert stop.wait(MOMENT)

    def ask() -> None:
        if at_work.wait(0.5):
            signal.raise_signal(signal.SIGINT)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        jobs.run([job(Crew(work), "a"), job(Crew(work), "b")], ask, stop)
    assert time.monotonic() - started < MOMENT / 2


def test_a_ctrl_c_whose_exception_python_dropped_ends_the_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a weak reference's callback raises is printed and forgotten; imports have such callbacks."""
    monkeypatch.setattr(interrupt, "_heard", threading.Event())
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: None)
    before = signal.getsignal(signal.SIGINT)
    stop = threading.Event()

    class Thing:
        """What can be referred to weakly."""

    def work(subjects: Sequence[str], ended: Ended) -> None:
        assert stop.wait(MOMENT)

    def lose_a_ctrl_c() -> None:
        thing = Thing()
        kept = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        del thing
        assert kept() is None

    interrupt.listen()
    try:
        with pytest.raises(KeyboardInterrupt):
            jobs.run([job(Crew(work), "a")], lose_a_ctrl_c, stop)
    finally:
        signal.signal(signal.SIGINT, before)
