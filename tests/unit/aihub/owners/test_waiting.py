"""An instance that waits for a person is not started and not looked into; all others go on, and the end says so."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub.errors import TaskFailed, Unreachable
from aihub.guests import probe
from aihub.guests.probe import Inside
from aihub.model.resolved import Hub
from aihub.options import Options
from aihub.owners import hub as owners
from aihub.owners import insides, services
from aihub.owners.choice import Everything
from aihub.owners.waiting import waiting
from aihub.plan import Plan
from aihub.proxmox.state import ActualGuests
from aihub.secrets import given, store
from aihub.state.directory import State
from aihub.verbs import plan as plan_verb
from aihub.verbs import up as up_verb

from tests.unit.aihub.memory import Memory
from tests.vault.local_vault import small_hub, with_kept

KEYS = ("notes@private-ai/api_key", "notes@public-ai/api_key")
BOTH = {key.partition("/")[0]: f"waits for aihub secrets set {key}" for key in KEYS}


@pytest.fixture
def hub() -> Hub:
    return with_kept(small_hub())


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Any:
    """A run on a hub whose store serves, and lacks both secrets that people give."""
    state, memory = State(tmp_path / "state"), Memory()
    state.make()
    state.vault_login.write_text("{}")
    store.ensure(hub, memory)
    return SimpleNamespace(
        hub=hub,
        state=state,
        memory=memory,
        made=(),
        started=(),
        insides={},
        waiting={},
        choice=Everything(),
        guests=ActualGuests({}),
        options=SimpleNamespace(full=False, allow_destroy=frozenset()),
        running=lambda: list(hub.guests),
        vault=lambda: memory,
    )


def give(run: Any, name: str) -> None:
    given.put(run.hub, run.memory, given.chosen(run.hub, name), "given")


def test_who_lacks_a_secret_waits_until_it_is_given(run: Any) -> None:
    assert waiting(run) == BOTH
    give(run, KEYS[0])
    assert waiting(run) == {"notes@public-ai": BOTH["notes@public-ai"]}
    give(run, KEYS[1])
    assert waiting(run) == {}


def test_before_there_is_a_store_nobody_can_have_given_anything(run: Any) -> None:
    run.state.vault_login.unlink()
    run.vault = None
    assert waiting(run) == BOTH


def test_a_store_that_cannot_be_asked_keeps_nobody_waiting(run: Any) -> None:
    def silent() -> Memory:
        raise Unreachable("does not answer")

    run.vault = silent
    assert waiting(run) == {}
    run.guests, run.running, run.vault = ActualGuests({112: None}), list, None  # type: ignore[dict-item]
    assert waiting(run) == {}, "its guest does not run, so that it is not even asked"


def test_a_hub_in_which_nothing_is_given_asks_no_store(run: Any) -> None:
    run.hub, run.vault = small_hub(), None
    assert waiting(run) == {}


def test_nothing_of_what_waits_is_in_the_plan(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """New guests, and one that has run before."""
    there = {"public-ai": Inside("public-ai", manifest={"desired": {"base": "old"}, "entries": {}})}
    wanted = {name: {"base": "new", "stack/notes": "new"} for name in run.hub.guests}
    monkeypatch.setattr(insides.probe, "read", lambda *_: there)
    monkeypatch.setattr(insides.render, "desired", lambda *_: wanted)
    monkeypatch.setattr(probe, "desired", lambda *_: wanted)
    monkeypatch.setattr(probe, "made_from", lambda *_: {name: {} for name in wanted})
    run.made = ("private-ai",)
    found = insides.look(run)
    assert found.waiting == BOTH
    assert [c for c in found.changes if "stack/notes" in c.parts or c.subject.startswith("notes@")] == []
    assert {c.subject for c in found.changes} == {"private-ai", "public-ai"}, "their machines go on"

    give(run, KEYS[0])
    found = insides.look(run)
    assert [c.subject for c in found.changes if "stack/notes" in c.parts] == ["private-ai"]
    assert "notes@private-ai" in {c.subject for c in found.changes}


def test_what_waits_is_not_looked_into(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have run before, and be down by now."""
    asked: list[str] = []
    providers = [i for i in run.hub.instances if i.name in ("postgres@db", "redis@db")]
    monkeypatch.setattr(services.services, "reconciled", lambda hub: providers)
    monkeypatch.setattr(services.services, "first", lambda hub, names: asked.extend(names) or [])
    monkeypatch.setattr(
        services.services, "look", lambda _hub, _state, _store, names, _: (asked.extend(names) or [], {}, {})
    )
    run.waiting, run.store, run.opened_vault = {"postgres@db": "waits"}, run.memory, run.memory
    run.standing, run.differs = lambda instance: "there", lambda instance: False
    assert services.look(run).changes == ()
    assert asked == ["redis@db"]


def test_the_end_names_what_waits_and_the_commands(run: Any) -> None:
    owners.refuse_waiting(run)
    run.waiting = {**waiting(run), "web@public-ai": "waits for notes@public-ai"}
    with pytest.raises(TaskFailed) as found:
        owners.refuse_waiting(run)
    assert found.value.exit_code == 1
    assert all(f"{name} {why}" in found.value.what for name, why in run.waiting.items())
    assert found.value.hint == f"aihub secrets set {KEYS[0]}; aihub secrets set {KEYS[1]}, then aihub up"


@pytest.mark.parametrize(("waits", "code"), [(BOTH, 3), ({}, 0)])
def test_plan_is_not_done_while_something_waits(
    waits: dict[str, str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(plan=Plan(waiting=waits), hub=None)
    monkeypatch.setattr(plan_verb, "opened", lambda *_, **__: nullcontext(found))
    monkeypatch.setattr(plan_verb, "perform", lambda *_: None)
    assert plan_verb.run(Options()) == code


@pytest.mark.parametrize("failed", [False, True])
def test_up_ends_with_1_after_all_else_and_with_7_when_a_check_failed(
    failed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(
        plan=Plan(waiting=BOTH),
        journal=SimpleNamespace(entries=list),
        waiting=BOTH,
        hub=with_kept(small_hub()),
        choice=Everything(),
    )
    proven: list[str] = []

    def verdict(run: Any) -> int:
        proven.append("checked")
        return 7 if failed else 0

    monkeypatch.setattr(up_verb, "opened", lambda *_, **__: nullcontext(found))
    monkeypatch.setattr(up_verb, "perform", lambda *_: None)
    monkeypatch.setattr(up_verb, "_proven", verdict)
    if failed:
        assert up_verb.run(Options()) == 7
    else:
        with pytest.raises(TaskFailed, match="waits for aihub secrets set"):
            up_verb.run(Options())
    assert proven == ["checked"]
