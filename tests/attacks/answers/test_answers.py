"""Whatever a guest answers: it is unknown, the others are planned as before, and nobody is lied to about them."""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from aihub import capture, ssh
from aihub.checks import leaks
from aihub.checks.shell import Shell
from aihub.errors import HubError, Unreachable
from aihub.guests import last_words
from aihub.state.directory import State

from tests.attacks.answers.corpus import BAD, ENDS, LIES, TEXTS
from tests.attacks.answers.world import GUEST, OTHER, Ended, World
from tests.contract.provision_lab import Lab

pytestmark = pytest.mark.slow

MEMORY, SECONDS = 64.0, 10.0
TABLE = Path(__file__).resolve().parents[3] / "build" / "answers.json"
SHOWN = {**TEXTS, **ENDS}  # those whose words a person might see
VERBS = ("plan --json", "plan", "status", "up")
HONEST: dict[str, Ended] = {}
ROWS: dict[str, dict[str, Any]] = {}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    lab = Lab()
    try:
        made = World(lab)
        HONEST.update(zip(VERBS, made.run(None, *VERBS), strict=True))
        yield made
    finally:
        lab.close()
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(json.dumps(dict(sorted(ROWS.items())), indent=1) + "\n")


def test_an_honest_guest_is_believed(world: World) -> None:
    """The control: without a hostile answer nothing is unknown, and the drift of the other guest is planned."""
    plan = HONEST["plan --json"]
    assert plan.code == 3, plan.output
    assert plan.plan["unknown"] == []
    assert {change["subject"] for change in plan.plan["changes"]} == {OTHER}
    assert HONEST["status"].code == HONEST["up"].code == 0


def harmless(output: str) -> None:
    """Nothing that steers a terminal, no fault of our own, no forged line."""
    steering = [c for c in output if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert not steering, output
    assert "fault of its own" not in output, output
    assert "Traceback" not in output, output
    assert not [line for line in output.splitlines() if line.startswith(("- db", "+ db", "~ db  delete"))], output


def about(plan: dict[str, Any], guest: str) -> list[Any]:
    """A plan's changes of one guest."""
    return [change for change in plan["changes"] if change["subject"].partition(": ")[0].rpartition("@")[2] == guest]


def bounded(name: str, verb: str, ended: Ended) -> None:
    """Little more memory and time than with an honest guest."""
    memory, seconds = ended.memory - HONEST[verb].memory, ended.seconds - HONEST[verb].seconds
    row = ROWS.setdefault(name, {})
    row[verb] = {"exit": ended.code, "MiB more": round(memory, 1), "seconds more": round(seconds, 1)}
    assert memory < MEMORY, (verb, memory)
    assert seconds < SECONDS, (verb, seconds)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_makes_that_guest_unknown_and_no_other(world: World, name: str) -> None:
    verbs = ("plan --json", "status", "up", *(["plan"] if name in SHOWN else []))
    planned, status, up, *shown = world.run(BAD[name], *verbs)
    assert {one.code for one in (planned, up, *shown)} == {1}, planned.output + up.output
    plan, honest = planned.plan, HONEST["plan --json"].plan
    assert plan["unknown"] == [GUEST]
    assert about(plan, OTHER) == about(honest, OTHER) != []
    assert {change["subject"] for change in plan["changes"]} == {OTHER, GUEST}
    assert all(change["later"] for change in about(plan, GUEST)), "one line: compared once it answers"
    assert status.code == 0, "status says of each machine what Proxmox says"
    assert f"data is kept on {GUEST} is not known" in status.output
    assert re.search(rf"{OTHER} +done", up.output), "the others are brought up"
    assert re.search(rf"{GUEST} +not done", up.output)
    for verb, ended in zip(verbs, (planned, status, up, *shown), strict=True):
        harmless(ended.output)
        bounded(name, verb, ended)


@pytest.mark.parametrize("name", LIES)
def test_what_a_guest_says_of_itself_is_said_of_nobody_else(world: World, name: str) -> None:
    planned, shown = world.run(LIES[name], "plan --json", "plan")
    assert planned.code == shown.code == 3, planned.output
    plan, honest = planned.plan, HONEST["plan --json"].plan
    assert plan["unknown"] == []
    assert about(plan, OTHER) == about(honest, OTHER)
    assert {change["subject"] for change in plan["changes"]} <= {OTHER, GUEST}
    assert not [change for change in plan["changes"] if change["data_at_risk"] or change["action"] != "configure"]
    assert not [one for one in plan["kept"] if not one["holder"].endswith(f"@{GUEST}")]
    assert {one["guest"] for one in plan["undeclared"]} <= {GUEST}
    for verb, ended in (("plan --json", planned), ("plan", shown)):
        harmless(ended.output)
        bounded(name, verb, ended)


@pytest.fixture
def answers(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], State]:
    """Lets the guest answer so; returns the state by which it is reached."""

    def let(program: str) -> State:
        for name, value in world.environment(program).items():
            monkeypatch.setenv(name, value)
        return world.hub.state

    return let


@pytest.mark.parametrize("name", BAD)
def test_what_verify_and_the_last_words_ask_for_is_bounded_too(
    answers: Callable[[str], State], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, began = answers(BAD[name]), time.monotonic()
    monkeypatch.setattr(last_words, "_SECONDS", 1.0)
    told = last_words.told(state, GUEST, ["notes"])["notes"]
    assert len(told.splitlines()) <= 40
    assert max(map(len, told.splitlines()), default=0) <= 500
    harmless(told)
    with pytest.raises(HubError) as scan:
        ssh.ask(state, GUEST, Path(leaks.on_guest.__file__), {}, leaks.Told, timeout=1.0)
    assert scan.value.where == GUEST
    with pytest.raises(HubError), fed_stream(state) as stream:
        leaks.fed.Fed(GUEST, (), b"").take(stream)
    shell = Shell(GUEST, [*ssh.argv(state, GUEST, "-T"), "--", "sh"])
    with pytest.raises(Unreachable) as checks:
        shell.run("true", timeout=1.0)
    shell.close()
    for error in (scan, checks):
        harmless(str(error.value).replace("\n", " "))
    assert time.monotonic() - began < SECONDS


def fed_stream(state: State) -> AbstractContextManager[capture.Stream]:
    program = Path(leaks.on_guest.__file__)
    return ssh.stream(state, GUEST, program, {}, timeout=1.0, most=4 << 20)
