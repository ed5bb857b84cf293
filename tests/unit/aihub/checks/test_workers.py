"""Checks of different subjects run side by side: as one after the other, and none of them is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aihub.checks import runner
from aihub.checks.runner import CheckResult
from aihub.model.resolved import Hub
from aihub.state.directory import State

Run = Callable[[str], list[CheckResult]]

BEGIN = """
import os, time
from pathlib import Path
import pytest

NOTES = Path(os.environ["NOTES"])

def note(name, text):
    with (NOTES / name).open("a") as out:
        out.write(f"{text}\\n")
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the checks of a test leave lines behind."""
    made = tmp_path / "notes"
    made.mkdir()
    monkeypatch.setenv("NOTES", str(made))
    return made


@pytest.fixture
def run(hub: Hub, state: State, folder: Path, notes: Path) -> Run:
    """`run(text)`: the results of a file of checks."""

    def results(text: str) -> list[CheckResult]:
        (folder / "test_some.py").write_text(BEGIN + text)
        return runner.run(hub, state)

    return results


def test_checks_of_different_subjects_run_at_the_same_time(run: Run, notes: Path) -> None:
    """Each waits until another one has begun."""
    results = run("""
def test_meets(guest):
    (NOTES / guest.name).touch()
    limit = time.monotonic() + 20
    while len(list(NOTES.iterdir())) < 2:
        assert time.monotonic() < limit, "nobody came"
        time.sleep(0.01)
""")
    assert {result.outcome for result in results} == {"passed"}


ENDING_BACKWARDS = """
@pytest.mark.slow
@pytest.mark.about("zones")
def test_walls():
    time.sleep(0.5)

def test_first(guest):
    time.sleep(0.5 if guest.name == "db" else 0)

@pytest.mark.guests(kind="vm")
def test_second(guest):
    assert guest.name == "public-ai"

def test_third(guest):
    if guest.name == "cache":
        pytest.skip("nothing to see")
"""


def test_results_are_the_same_in_the_same_order(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(ENDING_BACKWARDS)
    monkeypatch.setattr(runner, "WORKERS", 1)
    alone = run(ENDING_BACKWARDS)
    assert len(found) == 1 + 9 + 2 + 9
    same = [(r.subject, r.claim, r.outcome, r.message, r.label, r.origin) for r in alone]
    assert [(r.subject, r.claim, r.outcome, r.message, r.label, r.origin) for r in found] == same


@pytest.mark.slow
def test_the_checks_of_one_subject_share_a_process_and_what_it_fetched(run: Run, notes: Path, hub: Hub) -> None:
    run("""
@pytest.fixture(scope="session")
def fetched(guest):
    note("fetched", guest.name)
    yield
    note("ended", guest.name)

def test_first(guest, fetched):
    note(guest.name, os.getpid())

def test_second(guest, fetched):
    note(guest.name, os.getpid())
""")
    for name in ("fetched", "ended"):
        assert sorted((notes / name).read_text().split()) == sorted(hub.guests)
    assert {len(set((notes / name).read_text().split())) for name in hub.guests} == {1}


@pytest.mark.slow
def test_the_checks_of_a_file_marked_so_share_a_process(run: Run, notes: Path, hub: Hub) -> None:
    run("""
pytestmark = pytest.mark.together

def test_one(guest):
    note("pids", os.getpid())
""")
    pids = (notes / "pids").read_text().split()
    assert (len(pids), len(set(pids))) == (len(hub.guests), 1)


@pytest.mark.slow
def test_slow_ones_begin_first(run: Run, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "WORKERS", 2)
    run("""
def test_one(guest):
    note("begun", guest.name)
    time.sleep(0.2)

@pytest.mark.slow
@pytest.mark.about("zones")
def test_walls():
    note("begun", "zones")
""")
    assert "zones" in (notes / "begun").read_text().split()[:2]


def test_a_process_that_is_killed_fails_its_checks_and_no_others(run: Run, hub: Hub) -> None:
    results = run("""
def test_before(guest):
    pass

def test_dies(guest):
    if guest.name == "db":
        os.kill(os.getpid(), 9)

def test_after(guest):
    pass
""")
    failed = [result for result in results if result.outcome == "failed"]
    assert [(result.subject, result.claim) for result in failed] == [("db", "dies"), ("db", "after")]
    assert {result.message for result in failed} == {"it has no result: a process of the checks ended with signal 9"}
    assert len(results) == 3 * len(hub.guests)


@pytest.mark.slow
def test_when_every_process_is_killed_every_check_has_failed(run: Run, hub: Hub) -> None:
    results = run("""
def test_dies(guest):
    os._exit(3)
""")
    assert [result.subject for result in results] == list(hub.guests)
    assert {result.outcome for result in results} == {"failed"}
    assert all("ended with exit code 3" in result.message for result in results)


@pytest.mark.slow
def test_a_fault_of_a_process_says_what_it_was(run: Run, folder: Path, hub: Hub) -> None:
    with (folder / "conftest.py").open("a") as conftest:
        conftest.write("""
def pytest_runtest_logfinish(nodeid):
    if "[db]" in nodeid:
        raise RuntimeError("no room is left")
""")
    results = run("def test_one(guest): pass\n")
    assert {r.subject: r.outcome for r in results} == {
        name: "failed" if name == "db" else "passed" for name in hub.guests
    }
    assert "RuntimeError('no room is left')" in results[list(hub.guests).index("db")].message


@pytest.mark.slow
def test_the_file_for_other_programs_names_every_check(run: Run, state: State, hub: Hub) -> None:
    run("""
def test_dies(guest):
    if guest.name == "db":
        os._exit(3)
""")
    text = (state.runs / "junit.xml").read_text()
    assert text.count("<testcase ") == len(hub.guests)
    assert 'errors="0" failures="1"' in text


@pytest.mark.slow
def test_no_process_goes_on_when_nobody_asks_for_results(hub: Hub, state: State, folder: Path, notes: Path) -> None:
    (folder / "test_some.py").write_text(f"""{BEGIN}
@pytest.mark.parametrize("number", range(1000))
def test_one(guest, number):
    note("pids", os.getpid())
    time.sleep(0.05)
""")
    pids = notes / "pids"
    environment = {**os.environ, "AIHUB_HUB": str(hub.path), "AIHUB_STATE_DIR": str(state.directory)}
    with subprocess.Popen(runner.command(hub, state, []), env=environment, stdout=subprocess.DEVNULL) as run:
        while not pids.exists() or len(set(pids.read_text().split())) < runner.WORKERS:
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    workers = [Path(f"/proc/{pid}") for pid in set(pids.read_text().split())]
    limit = time.monotonic() + 20
    while any(worker.exists() for worker in workers):
        assert time.monotonic() < limit
        time.sleep(0.05)
