"""`aihub test --long`: its result is what the tests said, and a run that broke off is never a good one."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aihub import cli, process
from aihub.errors import InvalidInput, PreconditionFailed
from aihub.options import Options
from aihub.paths import ROOT
from aihub.verbs import test as verb
from typer.testing import CliRunner

REPORT = '<testsuites><testsuite tests="{tests}" failures="{failures}" errors="0" skipped="1"/></testsuites>'


@pytest.fixture
def pytest_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """In place of pytest: notes how it is called, and leaves the report that a test asks for."""
    called: dict[str, Any] = {"report": REPORT.format(tests=203, failures=0), "code": 0, "calls": []}

    def stream(argv: list[str], env: dict[str, str], log: Path | None = None, **_: Any) -> int:
        if log:
            log.write_text("")
        called["env"] = env
        called["calls"].append(argv)
        if called["report"]:
            (report,) = (arg.partition("=")[2] for arg in argv if arg.startswith("--junitxml="))
            Path(report).write_text(called["report"])
        code: int = called["code"]
        return code

    monkeypatch.setattr(process, "stream", stream)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(verb, "BUILD", tmp_path)
    monkeypatch.setattr(verb, "LONG_RESULT", tmp_path / "test-long.json")
    return called


def result(folder: Path, part: str) -> Any:
    return json.loads((folder / "test-long.json").read_text())[part]


def test_the_result_says_what_ran(pytest_run: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    assert verb.run(Options(full=True)) == 0
    kills, files, hub = (result(tmp_path, part) for part in ("kills", "files", "hub"))
    for found in (kills, files, hub):
        assert (found["passed"], found["failed"], found["skipped"]) == (202, 0, 1)
        assert str(found["seed"]) == pytest_run["env"]["AIHUB_CRASH_SEED"]
    assert (kills["random_kills"], files["changed_files"], hub["rotation_kills"]) == (1000, 10_000, 20)
    assert (pytest_run["env"]["AIHUB_CRASH_RANDOM"], pytest_run["env"]["AIHUB_MUTATIONS"]) == ("1000", "10000")
    assert re.fullmatch(r"=+ 1010 passed, 5 skipped in \d+\.\d\ds =+\n", capsys.readouterr().out)


def test_one_part_runs_alone_and_leaves_the_results_of_others(pytest_run: dict[str, Any], tmp_path: Path) -> None:
    verb.run(Options(full=True))
    pytest_run.update(calls=[], report=REPORT.format(tests=9, failures=0))
    assert verb.run(Options(full=True, only=("files",))) == 0
    (called,) = pytest_run["calls"]
    assert "tests/unit/aihub/reading/test_mutations.py" in called
    assert (result(tmp_path, "kills")["passed"], result(tmp_path, "files")["passed"]) == (202, 8)


def test_an_unknown_part_is_refused_and_the_parts_are_named(pytest_run: dict[str, Any]) -> None:
    done = CliRunner().invoke(cli.app, ["test", "--long", "--part", "kils"])
    assert done.exit_code == 2
    assert "kils" in done.stderr
    for name in verb.PARTS:
        assert name in done.stderr
    assert pytest_run["calls"] == []


def test_only_the_long_tests_have_parts(pytest_run: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="parts"):
        verb.run(Options(only=("kills",)))
    assert pytest_run["calls"] == []


def test_only_the_part_that_makes_guests_needs_root(
    pytest_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert verb.run(Options(full=True, only=("kills", "files"))) == 0
    ran = len(pytest_run["calls"])
    for options in (Options(), Options(full=True), Options(full=True, only=("hub",))):
        with pytest.raises(PreconditionFailed, match="root"):
            verb.run(options)
    assert len(pytest_run["calls"]) == ran


def test_every_part_has_tests() -> None:
    for part in verb.PARTS.values():
        assert (ROOT / part.tests[0]).is_file()


def test_make_hands_the_part_on() -> None:
    said = ["make", "--dry-run", "--no-print-directory", "test-long"]
    for given, wanted in (([], "test --long"), (["PART=files"], "test --long --part files")):
        done = subprocess.run([*said, *given], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1].strip().endswith(wanted)


def test_every_failure_is_named_at_the_end(pytest_run: dict[str, Any], capsys: Any) -> None:
    case = (
        '<testcase classname="tests.lab.test_hub" name="test_up"><failure message="no answer&#10;at all"/></testcase>'
    )
    pytest_run.update(report=f'<testsuites><testsuite tests="9" failures="1">{case}</testsuite></testsuites>', code=1)
    assert verb.run(Options(full=True)) == 1
    *names, last = capsys.readouterr().out.splitlines()
    assert names == ["FAILED tests.lab.test_hub::test_up - no answer"] * len(verb.PARTS)
    assert " 5 failed, 40 passed " in last


@pytest.mark.parametrize(("report", "code"), [(REPORT.format(tests=203, failures=2), 1), ("", 4)])
def test_a_bad_run_is_a_bad_result(pytest_run: dict[str, Any], tmp_path: Path, report: str, code: int) -> None:
    pytest_run.update(report=report, code=code)
    assert verb.run(Options(full=True)) == 1
    assert result(tmp_path, "kills")["failed"] == (2 if report else 1)


def test_ci_runs_every_part() -> None:
    text = (ROOT / ".github" / "workflows" / "long.yml").read_text()
    (parts,) = re.findall(r"^ +part: \[(.+)\]$", text, re.MULTILINE)
    assert set(parts.split(", ")) == set(verb.PARTS)


class NoLinters:
    """In place of the linters: says that so many failed."""

    failed = 0

    def join(self) -> int:
        return self.failed


@pytest.fixture
def linters(monkeypatch: pytest.MonkeyPatch) -> type[NoLinters]:
    monkeypatch.setattr(verb, "Linters", NoLinters)
    monkeypatch.setattr(NoLinters, "failed", 0)
    return NoLinters


def test_a_day_s_run_is_every_folder_of_tests(
    pytest_run: dict[str, Any], linters: type[NoLinters], capsys: Any
) -> None:
    assert verb.run(Options()) == 0
    ran = [Path(word) for call in pytest_run["calls"] for word in call if word.startswith("tests/")]
    every = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    unseen = {path for path in every if not any(path.is_relative_to(ROOT / folder) for folder in ran)}
    assert {path.relative_to(ROOT / "tests").parts[0] for path in unseen} == {"bench", "cases"}  # no tests of their own
    assert " 606 passed, 3 skipped " in capsys.readouterr().out


def test_a_day_s_run_fails_with_any_of_its_parts(
    pytest_run: dict[str, Any], linters: type[NoLinters], monkeypatch: pytest.MonkeyPatch
) -> None:
    linters.failed = 1
    assert verb.run(Options()) == 1
    linters.failed = 0
    whole = process.stream
    for folder in ("tests/lab/whole", "tests/lab/small", "tests/unit"):
        bad = lambda argv, folder=folder, **more: whole(argv, **more) + (folder in argv)  # noqa: E731
        monkeypatch.setattr(process, "stream", bad)
        assert verb.run(Options()) == 1
