"""The same job for many at once: errors stay with whom they belong to."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from aihub import interrupt, parallel
from aihub.errors import Unreachable


def test_the_error_of_one_is_no_others():
    def job(name: str) -> int:
        if name == "db":
            raise Unreachable("no answer", where=name)
        return len(name)

    found = parallel.on_each(["cache", "db", "cicd"], job)
    assert list(found) == ["cache", "db", "cicd"]
    assert (found["cache"], found["cicd"]) == (5, 4)
    assert isinstance(found["db"], Unreachable)
    with pytest.raises(Unreachable, match="no answer"):
        parallel.all_of(found)


def test_all_that_was_found_is_there_without_errors():
    assert parallel.all_of(parallel.on_each("ab", str.upper)) == {"a": "A", "b": "B"}
    assert parallel.on_each([], str.upper) == {}


def test_they_run_at_the_same_time():
    meet = threading.Barrier(parallel.AT_ONCE, timeout=10)
    parallel.all_of(parallel.on_each(range(parallel.AT_ONCE), lambda number: meet.wait()))


def test_a_fault_of_ours_is_not_taken_for_a_machines():
    def broken(name: str) -> None:
        raise KeyError(name)

    with pytest.raises(KeyError):
        parallel.on_each(["db"], broken)


def test_one_that_is_named_twice_is_asked_once():
    asked: list[str] = []
    parallel.on_each(["db", "db"], asked.append)
    assert asked == ["db"]


def test_an_answer_is_asked_for_by_name_and_an_error_is_its_own():
    def job(name: str) -> int:
        if name == "db":
            raise Unreachable("no answer", where=name)
        return len(name)

    found = parallel.Answers(["cache", "db"], job)
    assert found.of("cache") == 5
    with pytest.raises(Unreachable, match="no answer"):
        found.of("db")


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ctrl-C is remembered, as `aihub` does: Python drops it where it comes while a callback of its own runs."""
    monkeypatch.setattr(interrupt, "_heard", threading.Event())
    before = signal.getsignal(signal.SIGINT)
    interrupt.listen()
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("listening")
def test_ctrl_c_waits_a_moment_for_what_was_begun_and_begins_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PATIENCE", 0.2)
    begun: list[int] = []
    hangs, ended = threading.Event(), []

    def job(number: int) -> None:
        begun.append(number)
        if number == 0:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        if number == 1:
            time.sleep(0.2)
            ended.append(number)
            return
        hangs.wait(20)

    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            parallel.on_each(range(parallel.AT_ONCE + 5), job)
        assert time.monotonic() - started < 10
        assert ended == [1]
        assert len(begun) <= parallel.AT_ONCE + 1
    finally:
        hangs.set()


@pytest.mark.usefixtures("listening")
def test_a_ctrl_c_that_python_dropped_is_no_reason_to_go_on_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PATIENCE", 0.1)
    hangs = threading.Event()

    def job(_: int) -> None:
        interrupt._heard.set()  # all that is left of one that was dropped
        hangs.wait(20)

    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            parallel.on_each(range(2), job)
        assert time.monotonic() - started < 10
    finally:
        hangs.set()
