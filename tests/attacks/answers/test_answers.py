"""Whatever a guest answers: it is unknown, the others are planned as before, and nobody is lied to about them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.answers.corpus import BAD, LIES
from tests.attacks.answers.world import GUEST, OTHER, Ended, World
from tests.contract.provision_lab import Lab

pytestmark = pytest.mark.slow

MEMORY, SECONDS = 64.0, 10.0
TABLE = Path(__file__).resolve().parents[3] / "build" / "answers.json"
SHOWN = {**TEXTS, **ENDS}  # those whose words a person might see
HONEST: dict[str, Ended] = {}
ROWS: dict[str, dict[str, Any]] = {}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    lab = Lab()
    try:
        made = World(lab)
        for verb, ended in zip(
            ("plan --json", "plan", "status"), made.run(None, "plan --json", "plan", "status"), strict=True
        ):
            HONEST[verb] = ended
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
    assert HONEST["status"].code == 0


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
    verbs = ("plan --json", "status", *(["plan"] if name in SHOWN else []))
    planned, status, *shown = world.run(BAD[name], *verbs)
    assert {one.code for one in (planned, *shown)} == {1}, planned.output
    plan, honest = planned.plan, HONEST["plan --json"].plan
    assert plan["unknown"] == [GUEST]
    assert about(plan, OTHER) == about(honest, OTHER) != []
    assert {change["subject"] for change in plan["changes"]} == {OTHER, GUEST}
    assert all(change["later"] for change in about(plan, GUEST)), "one line: compared once it answers"
    assert status.code == 0, "status says of each machine what Proxmox says"
    assert f"data is kept on {GUEST} is not known" in status.output
    for verb, ended in zip(verbs, (planned, status, *shown), strict=True):
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
    for verb, ended in (("plan --json", planned), ("plan", shown)):
        harmless(ended.output)
        bounded(name, verb, ended)
