"""Secrets are generated once, kept to their owner, and reachable by proper names only."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub.errors import HubError, PreconditionFailed
from aihub.model.resolved import SecretRef
from aihub.paths import State
from aihub.secretstore import SecretStore

REF = SecretRef("postgres@db", "superuser_password", length=48)


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "state")
    state.make()
    return state


def test_a_value_is_made_once(state: State) -> None:
    value = SecretStore(state).ensure(REF)
    assert len(value) == 48
    assert SecretStore(state).ensure(REF) == value == SecretStore(state).get(REF.instance, REF.name)


def test_only_the_owner_can_read_it(state: State) -> None:
    SecretStore(state).ensure(REF)
    path = state.secrets / "postgres@db" / "superuser_password"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_put_replaces_and_names_lists(state: State) -> None:
    store = SecretStore(state)
    store.ensure(REF)
    store.put("postgres@db", "superuser_password", "other")
    store.put("postgres@db", "verify_a", "x")
    assert store.get("postgres@db", "superuser_password") == "other"
    assert store.names("postgres@db") == ["superuser_password", "verify_a"]
    assert store.names("redis@cache") == []


def test_a_missing_secret_is_named(state: State) -> None:
    with pytest.raises(PreconditionFailed, match="verify_a"):
        SecretStore(state).get("postgres@db", "verify_a")


@pytest.mark.parametrize(("instance", "name"), [("../x@db", "a"), ("postgres@db", "../a"), ("", "a"), ("a@b", "")])
def test_no_name_leads_elsewhere(state: State, instance: str, name: str) -> None:
    with pytest.raises(HubError, match="not the name of a secret"):
        SecretStore(state).put(instance, name, "x")


def test_a_lost_race_keeps_the_winners_value(state: State) -> None:
    store = SecretStore(state)
    path = state.secrets / "postgres@db" / "superuser_password"
    store._write(path, "first", replace=False)
    store._write(path, "second", replace=False)
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["superuser_password"]
