"""The differences that each reconcile.py sees, from states made by hand."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.reading import load
from aihub.services import service as services
from aihub.services.secrets import Entry
from aihub.services.service import Service

PASSWORDS = {"verify_a": "first", "verify_b": "second"}


class Store:
    """The two passwords of the checks' own login."""

    def read(self, path: str) -> Entry:
        assert path.endswith("/verify")
        return Entry({"a": "first", "b": "second", "active": "a"}, 1, datetime.now(UTC))


@pytest.fixture(scope="module")
def service() -> Any:
    whole = load.load(paths.DEFAULT_HUB, target="lab")
    hub = replace(whole, pairs=tuple(pair for pair in whole.pairs if pair.entry is None))
    return lambda name: Service(hub, hub.instance(name), Store(), Path("ca.pem"), Path("socket"))


@pytest.fixture
def postgres() -> Any:
    return services.reconciler("postgres")


@pytest.fixture
def settled(postgres: Any) -> Any:
    """A PostgreSQL that has all that it should."""
    roles = {
        "postgres": postgres.Role(True, "", frozenset()),
        "hub_reconcile": postgres.Role(False, "", frozenset({"verify", "verify_a", "verify_b"})),
        "hub_reconcile_a": postgres.Role(True, "hub_reconcile", frozenset({"hub_reconcile"})),
        "hub_reconcile_b": postgres.Role(True, "hub_reconcile", frozenset({"hub_reconcile"})),
        "verify": postgres.Role(False, "", frozenset()),
        "verify_a": postgres.Role(True, "verify", frozenset({"verify"})),
        "verify_b": postgres.Role(True, "verify", frozenset({"verify"})),
    }
    databases = {
        "postgres": postgres.Database("postgres", False),
        "verify": postgres.Database("verify", False, frozenset({"plpgsql", "vector", "timescaledb"})),
    }
    return postgres.State(roles, databases, frozenset(PASSWORDS))


def summaries(steps: Any) -> list[str]:
    return [f"{s.action} {s.summary}" for s in steps]


def test_an_empty_server_gets_owner_logins_database_and_extensions_in_order(postgres: Any, service: Any) -> None:
    steps = postgres.diff(service("postgres@db"), postgres.State({}, {}))
    assert summaries(steps) == [
        "create owner role verify",
        "create login verify_a",
        "create login verify_b",
        "create database verify",
        "create extension timescaledb in verify",
    ]


def test_a_settled_server_needs_nothing(postgres: Any, service: Any, settled: Any) -> None:
    assert postgres.diff(service("postgres@db"), settled) == []


@pytest.mark.parametrize(
    ("role", "change", "field"),
    [
        ("verify", {"can_login": True}, "login"),
        ("verify_a", {"can_login": False}, "login"),
        ("verify_a", {"acts_as": ""}, "acts as"),
        ("verify_b", {"member_of": frozenset()}, "member of"),
    ],
)
def test_a_changed_role_is_seen(
    postgres: Any, service: Any, settled: Any, role: str, change: dict[str, Any], field: str
) -> None:
    roles = {**settled.roles, role: replace(settled.roles[role], **change)}
    (step,) = postgres.diff(service("postgres@db"), replace(settled, roles=roles))
    assert [d.field for d in step.differences] == [field]
    assert role in step.summary


@pytest.mark.parametrize(
    ("change", "summary"),
    [
        ({"owner": "postgres"}, "database verify"),
        ({"public": True}, "database verify"),
        ({"extensions": frozenset({"timescaledb"})}, "extension vector in verify"),
    ],
)
def test_a_changed_database_is_seen(
    postgres: Any, service: Any, settled: Any, change: dict[str, Any], summary: str
) -> None:
    databases = {**settled.databases, "verify": replace(settled.databases["verify"], **change)}
    (step,) = postgres.diff(service("postgres@db"), replace(settled, databases=databases))
    assert step.summary == summary


def test_a_password_that_does_not_work_is_set_again_and_never_shown(postgres: Any, service: Any, settled: Any) -> None:
    (step,) = postgres.diff(service("postgres@db"), replace(settled, proven=frozenset({"verify_b"})))
    assert step.summary == "login verify_a"
    assert step.details["password"] == "first"
    assert "first" not in repr(step)


def test_a_login_without_consumer_is_switched_off_and_its_database_stays(
    postgres: Any, service: Any, settled: Any
) -> None:
    roles = {
        **settled.roles,
        "old": postgres.Role(False, "", frozenset()),
        "guest": postgres.Role(True, "", frozenset()),
    }
    roles["old_a"] = postgres.Role(True, "old", frozenset({"old"}))
    databases = {**settled.databases, "old": postgres.Database("old", False)}
    (step,) = postgres.diff(service("postgres@db"), replace(settled, roles=roles, databases=databases))
    assert step.summary == "login old_a has no consumer any more"
    assert step.details["sql"] == [("ALTER ROLE {} NOLOGIN", ["old_a"])]


@pytest.fixture
def redis() -> Any:
    return services.reconciler("redis")


@pytest.fixture
def user(redis: Any) -> Any:
    """The checks' user as it should be."""
    sums = frozenset(hashlib.sha256(p.encode()).hexdigest() for p in PASSWORDS.values())
    return redis.User(True, sums, "~verify:*", "&verify:*", redis.COMMANDS)


def test_a_missing_user_is_made_with_sums_and_no_password(redis: Any, service: Any) -> None:
    (step,) = redis.diff(service("redis@cache"), {})
    assert step.details["user"] == "verify"
    assert step.details["rules"][:2] == ["reset", "on"]
    assert sum(rule.startswith("#") for rule in step.details["rules"]) == 2
    assert not set(PASSWORDS.values()) & set(step.details["rules"])


def test_a_settled_user_needs_nothing(redis: Any, service: Any, user: Any) -> None:
    assert redis.diff(service("redis@cache"), {"verify": user}) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"on": False}, "on"),
        ({"keys": "~*"}, "keys"),
        ({"channels": "&*"}, "channels"),
        ({"commands": "+@all"}, "commands"),
        ({"passwords": frozenset({"0" * 64})}, "passwords"),
    ],
)
def test_a_changed_user_is_seen(redis: Any, service: Any, user: Any, change: dict[str, Any], field: str) -> None:
    (step,) = redis.diff(service("redis@cache"), {"verify": replace(user, **change)})
    assert [d.field for d in step.differences] == [field]
    assert "0" * 64 not in str(step.differences)


def test_a_user_without_consumer_is_switched_off_once(redis: Any, service: Any, user: Any) -> None:
    (step,) = redis.diff(service("redis@cache"), {"verify": user, "old": user})
    assert step.details == {"user": "old", "rules": ["off"]}
    assert redis.diff(service("redis@cache"), {"verify": user, "old": replace(user, on=False)}) == []


def test_declared_weights_that_are_missing_are_pulled_and_others_stay(service: Any) -> None:
    ollama = services.reconciler("ollama")
    (step,) = ollama.diff(service("ollama@private-ai"), frozenset({"mine:latest"}))
    assert step.details == {"weights": "qwen2.5:32b-instruct-q4_K_M"}
    assert ollama.diff(service("ollama@private-ai"), frozenset({"mine:latest", "qwen2.5:32b-instruct-q4_K_M"})) == []
