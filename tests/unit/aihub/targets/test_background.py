"""What goes on beside the steps is waited for, and its error is never lost."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from aihub import report
from aihub.errors import PreconditionFailed, TaskFailed
from aihub.targets.background import Background


def quiet(subject: str, text: str) -> None:
    pass


def fails() -> None:
    raise TaskFailed("docker ended with exit code 1", where="ghcr.io/x:1")


def test_an_error_that_nobody_asked_for_comes_with_the_end_of_the_context() -> None:
    with pytest.raises(TaskFailed, match="ghcr"), ExitStack() as stack:
        stack.enter_context(Background("images", fails, quiet))


def test_the_end_waits_for_what_is_unfinished_and_says_so() -> None:
    go_on, done, said = threading.Event(), threading.Event(), list[tuple[str, str]]()

    def job() -> None:
        go_on.wait(10)
        done.set()

    def progress(subject: str, text: str) -> None:
        said.append((subject, text))
        go_on.set()

    with Background("images", job, progress):
        assert not done.is_set()
    assert done.is_set()
    assert said == [("images", "waited for")]


def test_a_step_s_error_comes_first_and_the_job_s_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PreconditionFailed) as raised, Background("images", fails, quiet):
        raise PreconditionFailed("no token", hint="aihub up")
    report.error(raised.value)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: no token"
    assert lines[1] == "also: beside it, images: ghcr.io/x:1: docker ended with exit code 1"


def test_an_error_that_was_raised_by_a_join_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TaskFailed) as raised, Background("images", fails, quiet) as job:
        job.join()
    report.error(raised.value)
    assert "also:" not in capsys.readouterr().err


def test_an_interrupted_run_waits_for_nothing() -> None:
    forever = threading.Event()
    with pytest.raises(KeyboardInterrupt), Background("images", forever.wait, quiet):
        raise KeyboardInterrupt
    forever.set()
