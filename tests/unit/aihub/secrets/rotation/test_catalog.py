"""What a person can ask to have replaced, and what is said about a name that is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aihub.errors import InvalidInput
from aihub.model.delivery import LOGIN_DAYS
from aihub.model.resolved import Hub
from aihub.paths import ROOT
from aihub.reading import load
from aihub.secrets.rotation import catalog

from tests.vault.local_vault import with_kept


@pytest.fixture(scope="module")
def hub() -> Hub:
    home = ROOT / "tests" / "vault"
    return load.load(home / "hub.yml", home / "stacks", target="lab")


def test_everything_has_one_name_and_says_what_it_disturbs(hub: Hub) -> None:
    found = {one.name: one for one in catalog.everything(hub)}
    assert set(found) == {
        *(f"postgres@db/{name}" for name in ("reconcile", "verify", "tls")),
        *(f"redis@db/{name}" for name in ("reconcile", "verify", "tls")),
        *(
            f"notes@{guest}/{name}"
            for guest in ("private-ai", "public-ai")
            for name in ("postgres_main", "redis_jobs", "api_key", "salt", "tls")
        ),
        *(f"{guest}/{name}" for guest in ("security", "db", "private-ai", "public-ai") for name in ("login", "tls")),
        *("controller/login", "controller/ssh", "node/token"),
    }
    assert found["notes@private-ai/postgres_main"].effect == "restarts notes@private-ai"
    assert found["notes@private-ai/postgres_main"].guest == "private-ai"
    assert (found["postgres@db/reconcile"].effect, found["postgres@db/reconcile"].guest) == ("", "db")
    assert found["notes@private-ai/api_key"].days == 30
    assert found["notes@private-ai/tls"].days == 13  # two thirds of twenty
    assert (found["db/tls"].effect, found["db/tls"].guest, found["db/tls"].days) == ("", "db", 20)
    assert found["private-ai/tls"].effect == "reloads its door"
    logins = {one.days for one in found.values() if one.kind not in ("value", "certificate")}
    assert logins == {LOGIN_DAYS}  # passwords, secret-ids, the token and the key: one longest age


def test_a_name_an_owner_or_all_of_it_can_be_asked_for(hub: Hub) -> None:
    assert [one.name for one in catalog.chosen(hub, ["notes@private-ai/salt"])] == ["notes@private-ai/salt"]
    owned = catalog.chosen(hub, ["postgres@db", "controller/ssh"])
    assert {one.name for one in owned} == {
        "postgres@db/reconcile", "postgres@db/verify", "postgres@db/tls", "controller/ssh",
    }  # fmt: skip
    assert catalog.chosen(hub, [], every=True) == catalog.everything(hub)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("notes@private-ai/api-key", "notes@private-ai/api_key"),
        ("note@private-ai", "notes@private-ai"),
        ("notes@db/salt", "notes@private-ai/salt"),
        ("controler/ssh", "controller/ssh"),
        ("hub/db/postgres/reconcile", "postgres@db/reconcile"),
        ("", "aihub secrets status"),
    ],
)
def test_an_unknown_name_is_refused_with_what_was_probably_meant(hub: Hub, word: str, meant: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        catalog.chosen(hub, ["notes@private-ai/salt", word])
    assert meant in caught.value.hint


def test_old_things_are_due_and_things_of_unknown_age_are_not(hub: Hub) -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    since = {
        "notes@private-ai/api_key": now - timedelta(days=30),
        "notes@public-ai/api_key": now - timedelta(days=29, hours=23),
    }
    assert [one.name for one in catalog.due(catalog.everything(hub), since, now)] == ["notes@private-ai/api_key"]


KEPT = {
    "notes@private-ai/salt": "encrypts data that is kept, so it is never replaced",
    "notes@private-ai/api_key": "is replaced by whoever gives it: aihub secrets set notes@private-ai/api_key",
}


@pytest.mark.parametrize("words", [[], ["notes@private-ai"]])
def test_what_keeps_data_readable_or_was_given_is_left_out_and_named(hub: Hub, words: list[str]) -> None:
    chosen, left = catalog.replaceable(with_kept(hub), words, every=not words)
    assert {one.name: one.fixed for one in left if one.guest == "private-ai"} == KEPT
    assert all(one.days is None and not one.due(datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC)) for one in left)
    assert "notes@private-ai/postgres_main" in {one.name for one in chosen}
    assert not {one.name for one in chosen} & set(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_naming_it_is_refused_with_the_reason(hub: Hub, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        catalog.replaceable(with_kept(hub), ["postgres@db", name])
    assert caught.value.what == f"{name} {KEPT[name]}"


def test_the_journal_calls_things_by_what_a_rename_leaves_as_it_is(tmp_path: Path) -> None:
    home = ROOT / "tests" / "vault"
    text = (home / "hub.yml").read_text()
    (tmp_path / "hub.yml").write_text(text.replace("  private-ai: {", "  desk: {id: private-ai, "))
    kept = {
        one.name: one.kept for one in catalog.everything(load.load(tmp_path / "hub.yml", home / "stacks", target="lab"))
    }
    assert kept["notes@desk/postgres_main"] == "notes@private-ai/postgres_main"
    assert kept["notes@desk/tls"] == "notes@private-ai/tls"
    assert kept["desk/tls"] == "private-ai/tls"
    assert kept["postgres@db/reconcile"] == "postgres@db/reconcile"
    assert kept["desk/login"] == "desk/login"  # needs no journal
