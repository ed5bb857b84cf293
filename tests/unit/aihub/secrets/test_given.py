"""Secrets that a person gives: what is taken, what is refused before anything is contacted, and who waits."""

from __future__ import annotations

import pytest
from aihub.errors import InvalidInput
from aihub.model.resolved import Hub
from aihub.secrets import given, store

from tests.unit.aihub.memory import Memory
from tests.vault.local_vault import small_hub, with_kept

KEY = "notes@private-ai/api_key"


@pytest.fixture(scope="module")
def hub() -> Hub:
    return with_kept(small_hub())


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        (b"token", "token"),
        (b"token\n", "token"),
        (b"token\r\n", "token"),
        (b" two words \n\n", " two words \n"),
        (b"-----BEGIN KEY-----\nabc\n-----END KEY-----\n", "-----BEGIN KEY-----\nabc\n-----END KEY-----"),
        ("Schlüssel".encode(), "Schlüssel"),
        (b"x" * given.LONGEST + b"\n", "x" * given.LONGEST),
    ],
)
def test_a_value_is_what_was_given_without_the_newline_at_its_end(typed: bytes, value: str) -> None:
    assert given.checked(typed, KEY) == value


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (b"", "nothing was given"),
        (b"\n", "nothing was given"),
        (b" \t\r\n", "nothing was given"),
        (b"x" * (given.LONGEST + 1), "longer than 64 KiB"),
        (b"secret\0", "NUL"),
        (b"\xff\xfesecret", "no text"),
    ],
)
def test_what_no_file_of_a_secret_may_have_is_refused_and_not_quoted(typed: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as found:
        given.checked(typed, KEY)
    assert found.value.exit_code == 2
    assert "secret" not in f"{found.value.what} {found.value.hint}".replace("secrets set", "").replace("a secret", "")


@pytest.mark.parametrize(
    ("word", "why", "hint"),
    [
        ("notes@private-ai/api_kee", "no secret called", KEY),
        ("notes@private-ai", "which of them is meant", KEY),
        ("postgres@db", "which of them is meant", "secrets status"),
        ("notes@private-ai/salt", "made by aihub", "given: true"),
        ("notes@private-ai/postgres_main", "made by aihub", "aihub secrets rotate notes@private-ai/postgres_main"),
        ("notes@private-ai/tls", "made by aihub", "aihub secrets rotate"),
        ("controller/ssh", "made by aihub", "aihub secrets rotate"),
    ],
)
def test_only_a_given_secret_can_be_set(hub: Hub, word: str, why: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match=why) as found:
        given.chosen(hub, word)
    assert hint in found.value.hint


def test_a_given_secret_is_called_as_status_calls_it(hub: Hub) -> None:
    assert given.command(given.chosen(hub, KEY)) == f"aihub secrets set {KEY}"


def test_a_value_that_is_set_again_is_no_new_version(hub: Hub) -> None:
    memory, ref = Memory(), given.chosen(hub, KEY)
    assert given.put(hub, memory, ref, "one") == 1
    assert given.put(hub, memory, ref, "one") == 1
    assert given.put(hub, memory, ref, "two") == 2
    assert memory.entries[ref.path].data == {"value": "two"}


def test_nobody_makes_what_a_person_gives(hub: Hub) -> None:
    memory, ref = Memory(), given.chosen(hub, KEY)
    assert ref.path not in store.ensure(hub, memory)
    assert [given.name(one) for one in given.missing(hub, memory)] == [KEY, "notes@public-ai/api_key"]
    assert store.coming(hub, memory)[ref.path] == 0, "its agent is not asked for it"
    assert store.missing(hub, store.entries(hub, memory)) == []
    given.put(hub, memory, ref, "given")
    assert store.ensure(hub, memory) == []
    assert memory.entries[ref.path].data == {"value": "given"}


def test_an_instance_waits_for_its_own_secret_and_its_consumers_for_it(hub: Hub) -> None:
    ref = given.chosen(hub, KEY)
    assert given.waits(hub, []) == {}
    assert given.waits(hub, [ref]) == {"notes@private-ai": f"waits for aihub secrets set {KEY}"}
    (database,) = (one for one in hub.secrets if one.instance == "postgres@db")
    found = given.waits(hub, [database, ref])
    assert set(found) == {"postgres@db", "notes@private-ai", "notes@public-ai"}, "redis goes on"
    assert found["notes@public-ai"] == "waits for postgres@db"
    assert found["notes@private-ai"] == f"waits for aihub secrets set {KEY} and postgres@db"
    assert given.asked_for(found) == ["aihub secrets set postgres@db/reconcile", f"aihub secrets set {KEY}"]
