"""`aihub test --long`: its result is what the tests said, and a run that broke off is never a good one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aihub import process
from aihub.options import Options
from aihub.verbs import test as verb

REPORT = '<testsuites><testsuite tests="{tests}" failures="{failures}" errors="0" skipped="1"/></testsuites>'


@pytest.fixture
def pytest_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """In place of pytest: notes how it is called, and leaves the report that a test asks for."""
    called: dict[str, Any] = {"report": REPORT.format(tests=203, failures=0), "code": 0}

    def stream(argv: list[str], env: dict[str, str], **_: Any) -> int:
        called.update(argv=argv, env=env)
        if called["report"]:
            (report,) = (arg.partition("=")[2] for arg in argv if arg.startswith("--junitxml="))
            Path(report).write_text(called["report"])
        code: int = called["code"]
        return code

    monkeypatch.setattr(process, "stream", stream)
    monkeypatch.setattr(verb, "BUILD", tmp_path)
    monkeypatch.setattr(verb, "LONG_RESULT", tmp_path / "test-long.json")
    return called


def result(folder: Path) -> Any:
    return json.loads((folder / "test-long.json").read_text())


def test_the_result_says_what_ran(pytest_run: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    assert verb.run(Options(full=True)) == 0
    found = result(tmp_path)
    assert (found["passed"], found["failed"], found["skipped"]) == (404, 0, 2)
    assert (found["random_kills"], found["changed_files"]) == (1000, 10_000)
    assert str(found["seed"]) == pytest_run["env"]["AIHUB_CRASH_SEED"]
    assert (pytest_run["env"]["AIHUB_CRASH_RANDOM"], pytest_run["env"]["AIHUB_MUTATIONS"]) == ("1000", "10000")
    assert re.fullmatch(r"=+ 404 passed, 2 skipped in \d+\.\d\ds =+\n", capsys.readouterr().out)


def test_every_failure_is_named_at_the_end(pytest_run: dict[str, Any], capsys: Any) -> None:
    case = (
        '<testcase classname="tests.lab.test_hub" name="test_up"><failure message="no answer&#10;at all"/></testcase>'
    )
    pytest_run.update(report=f'<testsuites><testsuite tests="9" failures="1">{case}</testsuite></testsuites>', code=1)
    assert verb.run(Options(full=True)) == 1
    *names, last = capsys.readouterr().out.splitlines()
    assert names == ["FAILED tests.lab.test_hub::test_up - no answer"] * 2
    assert " 2 failed, 16 passed " in last


@pytest.mark.parametrize(("report", "code"), [(REPORT.format(tests=203, failures=2), 1), ("", 4)])
def test_a_bad_run_is_a_bad_result(pytest_run: dict[str, Any], tmp_path: Path, report: str, code: int) -> None:
    pytest_run.update(report=report, code=code)
    assert verb.run(Options(full=True)) == 1
    assert result(tmp_path)["failed"] == (4 if report else 2)
