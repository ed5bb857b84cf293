"""Data that nobody declares any more is listed apart, and goes when its instance is named, with nobody else's."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aihub import paths, report, targets
from aihub.errors import PreconditionFailed
from aihub.guests.probe import Inside
from aihub.options import Options
from aihub.owners import entries, kept, moves, services
from aihub.owners.run import Run
from aihub.plan import Change, Kept, Plan, adds
from aihub.reading import load
from aihub.secrets.kept import INSTANCE, KEEP, left
from aihub.state.directory import State

from tests.unit.aihub.memory import Memory

ROLE = "canary_monitoring_main"


@pytest.fixture
def run(tmp_path: Path) -> Any:
    options, hub = Options(), load.load(paths.DEFAULT_HUB, target="lab")
    with ExitStack() as stack:
        yield Run(options, hub, State(tmp_path), targets.chosen(options, hub), report, stack, "plan")


def allowing(run: Run, *names: str, move: tuple[str, ...] = ()) -> Run:
    run.options = replace(run.options, allow_destroy=frozenset(names), allow_move=frozenset(move))
    return run


def test_the_volumes_of_a_stack_that_left_its_guest_are_kept(run: Run) -> None:
    run.insides = {"db": Inside("db", data=("postgres", "chroma")), "cache": Inside("cache", data=("redis",))}
    (found,) = kept.volumes(run)
    assert (found.holder, found.where) == ("chroma@db", "/var/lib/hub/chroma on guest db")
    change = kept.removal(found)
    assert (change.holder, change.action, change.data_at_risk != "") == ("chroma@db", "delete", True)


def test_an_object_is_traced_to_the_instance_that_would_have_it(run: Run) -> None:
    found = list(kept.objects(run, {"postgres@db": (ROLE, "somebody_s"), "redis@cache": ()}))
    assert [one.holder for one in found] == ["canary@monitoring", "postgres@db/somebody_s"]


def test_only_what_is_named_may_go(run: Run) -> None:
    assert kept.forgotten(run) == frozenset()
    assert ROLE in kept.forgotten(allowing(run, "canary@monitoring"))
    assert ROLE not in kept.forgotten(allowing(run, "canary@db"))
    assert "postgres@db/somebody_s" in kept.forgotten(allowing(run, "postgres@db/somebody_s"))


def test_a_kept_entry_goes_with_its_instances_data_and_with_no_other(run: Run) -> None:
    store: Any = Memory()
    vault = run.hub.vault
    assert vault is not None
    for path, marks in (
        ("hub/db/app/salt", {KEEP: "never", INSTANCE: "app@db"}),
        ("hub/db/other/token", {KEEP: "given", INSTANCE: "other@db"}),
    ):
        store.write(path, {"value": "x"}, 0)
        store.mark(path, marks)

    def gone(*allowed: str) -> list[str]:
        return [
            c.subject
            for c in entries.look(run.hub, vault, store, left(run.hub, store), allowed)
            if c.action == "delete"
        ]

    assert gone() == []
    assert gone("app@db") == [f"{vault.name}: entry hub/db/app/salt"]


def moved(run: Run, *paths_of_pairs: str) -> list[Change]:
    store: Any = Memory()
    for path in paths_of_pairs:
        store.write(path, {"a": "x", "b": "y", "active": "a"}, 0)
    assert run.hub.vault is not None
    return list(moves.look(run.hub, run.hub.vault, left(run.hub, store)))


def test_a_consumer_whose_login_lies_elsewhere_is_told_to_begin_anew(run: Run) -> None:
    (found,) = moved(run, f"operator/pair/postgres@gone/{ROLE}")
    assert "canary@monitoring" in found.subject
    assert found.summary.startswith("postgres@db in place of postgres@gone")
    assert moved(run, "operator/pair/postgres@gone/nobody_s", f"operator/pair/postgres@db/{ROLE}") == []


def test_the_checks_keep_nothing_at_a_provider_that_goes(run: Run) -> None:
    assert moved(run, "operator/pair/gone@db/verify") == []


def test_it_moves_only_when_somebody_says_so(run: Run) -> None:
    run.plan = Plan(tuple(moved(run, f"operator/pair/postgres@gone/{ROLE}")))
    with pytest.raises(PreconditionFailed, match="leave its data behind") as refused:
        moves.refuse(run)
    assert refused.value.hint == "if that is meant: aihub up --allow-move canary@monitoring"
    moves.refuse(allowing(run, move=("canary@monitoring",)))


def test_kept_data_is_no_change_and_is_shown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(kept=(Kept("notes@app", "volumes", "/var/lib/hub/notes on guest app"),))
    assert plan.is_empty
    report.plan(plan)
    shown = " ".join(capsys.readouterr().out.split())
    assert "nothing to change" in shown
    assert "notes@app kept: volumes /var/lib/hub/notes on guest app --allow-destroy notes@app" in shown
    assert plan.as_json()["kept"] == [plan.kept[0].as_json()]


@pytest.mark.parametrize("data", [("redis",), ("postgres",)])
def test_a_provider_that_takes_up_its_data_may_find_users_there_whom_nobody_declares(
    run: Run, data: tuple[str, ...]
) -> None:
    """Who used it when it left: they are compared once it runs, and that is agreed to."""
    run.insides = {name: Inside(name, error="no ssh") for name in run.hub.guests} | {
        "cache": Inside("cache", data=data)
    }
    found = services.look(run).changes
    here = [change for change in found if change.holder == "redis@cache"]
    assert {change.action for change in here if not change.later} == {"create"}
    left = Change("redis@cache: ACL user x", "update", "services", "service", "ACL user x has no consumer any more")
    assert any(change.later for change in here) == (data == ("redis",))
    assert adds(Plan(found), left) == (data != ("redis",))
