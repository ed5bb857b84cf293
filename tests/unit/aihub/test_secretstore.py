"""Secrets are generated once, kept to their owner, and reachable by proper names only."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from aihub import crashpoint
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


@pytest.mark.parametrize("where", ["before", "inside", "after"])
@pytest.mark.parametrize("verb", ["ensure", "put"])
def test_a_kill_leaves_the_old_value_or_the_new_one_and_the_next_run_goes_on(
    state: State, verb: str, where: str
) -> None:
    store, ref = SecretStore(state), SecretRef("redis@cache", "password", 32)
    if verb == "put":
        store.put(ref.instance, ref.name, "old")
    pid = os.fork()
    if not pid:
        os.environ["AIHUB_CRASH_AT"] = f"secret password:{where}"
        crashpoint._made.clear()
        store.ensure(ref) if verb == "ensure" else store.put(ref.instance, ref.name, "new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert store.names(ref.instance) in ([], [ref.name]), "what lies beside is no secret"
    value = store.ensure(ref)
    if verb == "put":
        assert value == ("new" if where == "after" else "old")
    else:
        assert len(value) == 32
    assert store.ensure(ref) == value
