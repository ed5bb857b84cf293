"""Running the checks: a real pytest run, its ssh replaced by a shell on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from aihub import paths
from aihub.checks import runner as checks
from aihub.errors import InvalidInput, TaskFailed
from aihub.model.resolved import Hub
from aihub.state.directory import State

from .conftest import VALUE

TESTS = '''
import pytest

def test_speaks(host):
    """it speaks"""
    assert host.check_output("echo hello") == "hello"

@pytest.mark.guests(kind="vm")
def test_is_a_machine(guest, simulated):
    """it is a VM."""
    simulated("a stand-in")

@pytest.mark.guests(name="db")
def test_leaks(secret):
    value = secret("verify_a", instance="postgres@db")
    assert value == "guess"

@pytest.mark.guests(name="cache")
def test_waits(guest):
    pytest.skip("nothing to see")

@pytest.mark.about("zones")
def test_walls(hub):
    """the walls stand"""
    assert hub.zones
'''


def test_every_claim_gets_a_result_about_its_subject(hub: Hub, state: State, folder: Path) -> None:
    (folder / "test_some.py").write_text(TESTS)
    seen: list[tuple[str, str]] = []
    results = checks.run(hub, state, progress=lambda *step: seen.append(step))
    by_claim = {(r.subject, r.claim): r for r in results}

    assert {s for s, claim in by_claim if claim == "it speaks"} == set(hub.guests)
    assert {s for s, claim in by_claim if claim == "it is a VM"} == {"private-ai", "public-ai"}
    assert "lab: a stand-in" in by_claim["private-ai", "it is a VM"].label
    assert by_claim["cache", "waits"].outcome == "skipped"
    assert by_claim["cache", "waits"].message == "nothing to see"
    assert by_claim["zones", "the walls stand"].outcome == "passed"

    leak = by_claim["db", "leaks"]
    assert leak.outcome == "failed"
    assert "***" in leak.message
    printed = json.dumps([r.as_json() for r in results]) + (state.runs / "junit.xml").read_text()
    assert VALUE not in printed
    assert ("db", "FAILED: leaks") in seen


@pytest.mark.slow
def test_stacks_that_lie_elsewhere_have_checks_of_their_own(
    hub: Hub, state: State, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = tmp_path / "elsewhere"
    shutil.copytree(paths.ROOT / "stacks", stacks)
    for name in hub.stacks:
        (stacks / name / f"test_{name}.py").write_text('def test_it(instance):\n    """it has a name"""\n')
    monkeypatch.setattr(paths, "STACKS", stacks)
    monkeypatch.setenv("AIHUB_STACKS", str(stacks))
    results = checks.run(hub, state, select=["redis", "postgres"])
    assert sorted((r.origin, r.subject, r.outcome) for r in results if r.claim == "it has a name") == [
        ("stacks/postgres", "postgres@db", "passed"),
        ("stacks/postgres", "postgres@private-data", "passed"),
        ("stacks/redis", "redis@cache", "passed"),
        ("stacks/redis", "redis@private-data", "passed"),
    ]


@pytest.mark.slow
def test_a_selection_leaves_the_rest_out(hub: Hub, state: State, folder: Path) -> None:
    (folder / "test_some.py").write_text(TESTS)
    results = checks.run(hub, state, select=["security", "zones"])
    assert {r.subject for r in results} == {"security", "zones"}


@pytest.mark.slow
def test_an_instance_that_waits_is_listed_with_its_reason_and_nothing_is_claimed_of_it(
    hub: Hub, state: State, folder: Path
) -> None:
    (folder / "test_some.py").write_text('def test_it(instance):\n    """it runs well"""\n')
    why = "waits for aihub secrets set chroma@private-ai/token"
    results = checks.run(hub, state, waiting={"chroma@private-ai": why})
    assert {r.subject for r in results if r.claim == "it runs well"} == {
        i.name for i in hub.instances if i.name != "chroma@private-ai"
    }
    (told,) = (r for r in results if r.subject == "chroma@private-ai")
    assert (told.outcome, told.message) == ("skipped", why)
    results = checks.run(hub, state, ["db"], waiting={"chroma@private-ai": why})
    assert {r.subject for r in results} == {"postgres@db"}
    results = checks.run(hub, state, ["chroma"], waiting={"chroma@private-ai": why})
    assert [(r.subject, r.outcome) for r in results] == [("chroma@private-ai", "skipped")]
    with pytest.raises(TaskFailed, match="did not run"):
        checks.run(hub, state, ["controller"])


def test_a_selection_of_nothing_we_know_contacts_nothing(hub: Hub, state: State) -> None:
    with pytest.raises(InvalidInput, match="no guest, instance or stack of this hub: dbb"):
        checks.run(hub, state, select=["dbb"])


@pytest.mark.slow
def test_checks_that_do_not_run_are_no_success(hub: Hub, state: State, folder: Path) -> None:
    (folder / "test_some.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(TaskFailed, match="the checks did not run"):
        checks.run(hub, state)


@pytest.mark.slow
def test_what_fails_is_tried_once_more_and_says_so(
    hub: Hub, state: State, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "PAUSE", 0.0)
    (folder / "test_some.py").write_text(f'''
from pathlib import Path
import pytest

def count(name):
    file = Path("{tmp_path}", name)
    file.write_text(file.read_text() + "x" if file.exists() else "x")
    return len(file.read_text())

@pytest.mark.about("zones")
def test_late():
    """it comes late"""
    assert count("late") == 2, "not yet"

@pytest.mark.about("zones")
def test_never():
    """it never comes"""
    assert not count("never"), "no"

@pytest.mark.about("zones")
def test_once():
    """it was there"""
    assert count("once") == 1
''')
    late, never, once = checks.run(hub, state, ["zones"])
    assert (late.outcome, never.outcome, once.outcome) == ("passed", "failed", "passed")
    assert "passed at the second try only: it comes late: not yet" in late.label
    assert "at the second try: " in never.message
    assert not once.label


@pytest.mark.slow
def test_a_machine_that_does_not_answer_fails_its_checks(hub: Hub, state: State, folder: Path) -> None:
    program = folder.parent / "bin" / "ssh"
    program.write_text("#!/bin/sh\necho Connection refused >&2\nexit 255\n")
    (folder / "test_some.py").write_text("def test_speaks(host):\n    assert host.run('true').rc == 0\n")
    results = checks.run(hub, state, select=["db"])
    assert [(r.outcome, "Connection refused" in r.message) for r in results] == [("failed", True)]


def test_a_check_that_fails_while_cleaning_up_failed() -> None:
    passed = {"id": "a", "subject": "db", "claim": "c", "outcome": "passed", "seconds": 0.1, "message": ""}
    failed = {**passed, "outcome": "failed", "message": "could not remove its row"}
    (result,) = checks.merged([json.dumps(passed), json.dumps(failed)]).values()
    assert (result.outcome, result.message) == ("failed", "could not remove its row")


@pytest.mark.slow
def test_where_no_command_works_no_check_about_a_machine_passes(hub: Hub, state: State) -> None:
    """Output that is empty because the command failed is no answer: a check that something is absent fails, too."""
    program = Path(state.directory.parent / "bin" / "ssh")
    program.write_text("#!/bin/sh\nPATH=/nowhere exec /bin/sh\n")
    results = checks.run(hub, state)
    passed = {(r.origin, r.subject, r.claim) for r in results if r.outcome == "passed"}
    assert {subject for _, subject, _ in passed} <= {"controller"}, passed
