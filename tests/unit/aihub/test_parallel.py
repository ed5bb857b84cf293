"""The same job for many at once: errors stay with whom they belong to."""

from __future__ import annotations

import threading

import pytest
from aihub import parallel
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
