"""The differences that each reconcile.py sees, from states made by hand; and that it sees them by names alone."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import socket
from contextlib import nullcontext
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.errors import InvalidInput, TaskFailed
from aihub.model.resolved import Consumer, Hub
from aihub.reading import load
from aihub.services import declared
from aihub.services import service as services
from aihub.services.declared import Declared
from aihub.services.road import Road
from aihub.services.secrets import Entry
from aihub.services.service import Service

NOWHERE = Road(nullcontext, nullcontext)
PASSWORDS = {"verify_a": "first", "verify_b": "second"}
ollama: Any = services.reconciler("ollama")
STACKS = sorted(path.parent.name for path in paths.STACKS.glob("*/reconcile.py"))


def wanted(instance: str) -> Declared:
    """Only the checks log in."""
    return Declared(instance, (Consumer(instance, "verify", "any", "verify", "verify"),))


class Store:
    """The two passwords of the checks' own login."""

    def read(self, path: str) -> Entry:
        assert path.endswith("/verify")
        return Entry({"a": "first", "b": "second", "active": "a"}, 1, datetime.now(UTC))


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


@pytest.fixture
def service(hub: Hub) -> Any:
    few = replace(hub, consumers=tuple(one for one in hub.consumers if one.consumer == "verify"))
    return lambda name: Service(few, few.instance(name), Store(), Path("ca.pem"), NOWHERE)


# -- names alone


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def states(settled: Any, redis: Any, user: Any, qdrant: Any, litellm: Any, gateway: Any) -> dict[str, list[Any]]:
    """Of each stack with a reconcile.py, states that differ from what is wanted in several ways."""
    other = replace(settled.roles["verify_a"], can=frozenset(), settings=())
    gone = {"gone_a": replace(settled.roles["verify_a"], settings=("role=gone",))}
    return {
        "litellm": [
            litellm.State({}, (), frozenset()),
            replace(gateway, ours=frozenset()),
            left_over(litellm, gateway),
        ],
        "ollama": [ollama.State(), ollama.State({"mine:latest": "4d"}, frozenset({"mine:latest"}))],
        "postgres": [
            replace(settled, proven=frozenset()),
            replace(settled, roles={**settled.roles, "verify_a": other, **gone}, databases={}),
        ],
        "qdrant": [qdrant.State(frozenset()), qdrant.State(frozenset({"verify"}), 2)],
        "redis": [redis.State({}), redis.State({"verify": replace(user, passwords=False), "gone": user}, ("shared",))],
    }


@pytest.fixture
def qdrant() -> Any:
    return services.reconciler("qdrant")


def asked_of(hub: Hub, stack: str) -> Declared:
    """What the hub's first instance of a stack is asked for; where it has none, that the checks log in."""
    mine = [instance for instance in services.reconciled(hub) if instance.stack.name == stack]
    return declared.of(hub, mine[0]) if mine else wanted(f"{stack}@db")


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket and no file can be opened."""

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("diff reaches for something outside")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr("builtins.open", refused)
    monkeypatch.setattr(Path, "open", refused)


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return leaves((*value, *value.values()))
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def test_what_a_diff_is_given_is_names(hub: Hub, stack: str) -> None:
    """Nothing that leads to the service or to the store is among its arguments."""
    assert list(inspect.signature(services.reconciler(stack).diff).parameters) == ["declared", "state"]
    for instance in services.reconciled(hub):
        found = declared.of(hub, instance)
        assert all(isinstance(leaf, str | bool | None) for leaf in leaves(astuple(found))), found
        assert hash(found) == hash(declared.of(hub, instance))


def test_a_diff_is_pure(hub: Hub, stack: str, states: dict[str, list[Any]], cut_off: None) -> None:
    """It says the same twice, of nothing and of any state, changes neither, and keeps no value in its steps."""
    module = services.reconciler(stack)
    asked = asked_of(hub, stack)
    for state in (None, *states[stack]):
        before = copy.deepcopy(state)
        steps = module.diff(asked, state)
        assert steps
        assert steps == module.diff(asked, state)
        assert state == before
        for step in steps:
            json.dumps(dict(step.details))  # names, and lists of them


def test_nothing_there_is_an_empty_service(
    hub: Hub, stack: str, postgres: Any, redis: Any, qdrant: Any, litellm: Any
) -> None:
    """On the first day everything declared is to be made; what is there then needs no step that was not told."""
    module = services.reconciler(stack)
    empty = {
        "litellm": litellm.State({}, (), frozenset()),
        "ollama": ollama.State(),
        "postgres": postgres.State({}, {}),
        "qdrant": qdrant.State(frozenset()),
        "redis": redis.State({}),
    }[stack]
    asked = asked_of(hub, stack)
    assert module.diff(asked, None) == module.diff(asked, empty)
    assert {step.action for step in module.diff(asked, None)} <= {"create"}


def test_every_step_has_an_object_of_its_own(hub: Hub, stack: str, states: dict[str, list[Any]]) -> None:
    """Two steps of one action on one object could not be told apart in a plan that was agreed."""
    module = services.reconciler(stack)
    for state in (None, *states[stack]):
        subjects = [(step.object, step.action) for step in module.diff(asked_of(hub, stack), state)]
        assert len(set(subjects)) == len(subjects)


# -- PostgreSQL


@pytest.fixture
def postgres() -> Any:
    return services.reconciler("postgres")


LOGIN = frozenset({"log in"})
ACTS = frozenset({"inherit", "set"})
MAKES = frozenset({"create roles", "create databases"})


@pytest.fixture
def settled(postgres: Any) -> Any:
    """A PostgreSQL that has all that it should."""
    roles = {
        "postgres": postgres.Role(frozenset({"everything", *LOGIN, *MAKES})),
        "hub_reconcile": postgres.Role(MAKES),
    }
    memberships = []
    for owner, connections in (("hub_reconcile", -1), ("verify", 40)):
        for half in "ab":
            roles[f"{owner}_{half}"] = postgres.Role(LOGIN, connections, (f"role={owner}",))
            memberships.append(postgres.Membership(owner, f"{owner}_{half}", ACTS))
    roles["verify"] = postgres.Role()
    for made in ("verify", "verify_a", "verify_b"):
        memberships.append(postgres.Membership(made, "hub_reconcile", frozenset({"admin"})))
    databases = {"postgres": postgres.Database("postgres"), "verify": database(postgres, "verify")}
    return postgres.State(roles, databases, tuple(memberships), frozenset(PASSWORDS))


def database(postgres: Any, name: str) -> Any:
    return postgres.Database(
        "hub_reconcile",
        rights=frozenset(f"{name}: {right}" for right in ("CONNECT", "CREATE", "TEMPORARY")),
        extensions=frozenset({"plpgsql", "vector", "timescaledb"}),
        schema_owner=name,
    )


def gone(postgres: Any, settled: Any, name: str) -> Any:
    """A server that also has a consumer's database and roles, whom nobody declares."""
    roles = {role.replace("verify", name): one for role, one in settled.roles.items() if role.startswith("verify")}
    for half in "ab":
        roles[f"{name}_{half}"] = postgres.Role(LOGIN, 40, (f"role={name}",))
    memberships = [replace(m, role=m.role.replace("verify", name), member=m.member.replace("verify", name))
                   for m in settled.memberships if m.role.startswith("verify")]  # fmt: skip
    return replace(
        settled,
        roles={**settled.roles, **roles},
        databases={**settled.databases, name: database(postgres, name)},
        memberships=(*settled.memberships, *memberships),
    )


def summaries(steps: Any) -> list[str]:
    return [f"{s.action} {s.summary}" for s in steps]


def test_an_empty_server_gets_everything_before_anybody_can_log_in(postgres: Any) -> None:
    steps = postgres.diff(wanted("postgres@db"), postgres.State({}, {}))
    assert summaries(steps) == [
        "create owner role verify",
        "create database verify",
        "create extension timescaledb in verify",
        "create schema public of verify",
        "create login verify_a",
        "create login verify_b",
    ]


def test_a_settled_server_needs_nothing(postgres: Any, settled: Any) -> None:
    assert postgres.diff(wanted("postgres@db"), settled) == []


@pytest.mark.parametrize(
    ("role", "change", "field"),
    [
        ("verify", {"can": LOGIN}, "may"),
        ("verify", {"can": frozenset({"create roles"})}, "may"),
        ("verify", {"settings": ("search_path=evil, pg_catalog",)}, "set for it"),
        ("verify_a", {"can": frozenset()}, "may"),
        ("verify_a", {"settings": ()}, "set for it"),
        ("verify_a", {"settings": ("role=verify", "verify: work_mem=1GB")}, "set for it"),
        ("verify_b", {"connections": -1}, "connections"),
        ("hub_reconcile", {"can": frozenset({"everything", *MAKES})}, "may"),
        ("hub_reconcile_a", {"settings": ("role=hub_reconcile", "search_path=evil")}, "set for it"),
    ],
)
def test_a_changed_role_is_seen(postgres: Any, settled: Any, role: str, change: dict[str, Any], field: str) -> None:
    roles = {**settled.roles, role: replace(settled.roles[role], **change)}
    (step,) = postgres.diff(wanted("postgres@db"), replace(settled, roles=roles))
    assert [d.field for d in step.differences] == [field]
    assert role in step.summary


@pytest.mark.parametrize(
    ("role", "member", "options", "subject"),
    [
        ("other", "verify", ACTS, "owner role verify"),
        ("verify", "verify_a", ACTS | {"admin"}, "login verify_a"),
        ("verify", "hub_reconcile", frozenset({"set"}), "role hub_reconcile"),
        ("verify", "hub_reconcile", frozenset({"admin", "inherit"}), "role hub_reconcile"),
        ("pg_read_all_data", "verify_b", ACTS, "login verify_b"),
        ("verify", "somebody", ACTS, "role somebody"),
    ],
)
def test_a_membership_that_nobody_declares_is_seen_and_ended(
    postgres: Any, settled: Any, role: str, member: str, options: frozenset[str], subject: str
) -> None:
    more = postgres.Membership(role, member, options)
    roles = {"somebody": postgres.Role(), **settled.roles}
    state = replace(settled, roles=roles, memberships=(*settled.memberships, more))
    (step,) = postgres.diff(wanted("postgres@db"), state)
    assert (step.action, step.object, [d.field for d in step.differences]) == ("update", subject, ["member of"])
    assert ("SELECT hub.revoke({}, {})", [role, member]) in step.details["sql"]
    kept = [names for text, names in step.details["sql"] if text.startswith("GRANT")]
    assert kept == ([[role, member]] if (role, member) == ("verify", "verify_a") else [])


def test_a_login_that_lost_its_owner_gets_it_again(postgres: Any, settled: Any) -> None:
    left = tuple(m for m in settled.memberships if m.member != "verify_a")
    (step,) = postgres.diff(wanted("postgres@db"), replace(settled, memberships=left))
    (difference,) = step.differences
    assert (step.object, difference.actual, difference.wanted) == ("login verify_a", None, "verify")


def test_a_role_that_nobody_knows_can_do_nothing_any_more(postgres: Any, settled: Any) -> None:
    for can in (LOGIN, LOGIN | MAKES):
        roles = {**settled.roles, "somebody": postgres.Role(can)}
        (step,) = postgres.diff(wanted("postgres@db"), replace(settled, roles=roles))
        assert (step.action, step.object) == ("update", "role somebody")
        assert step.details["sql"] == [("SELECT hub.strip({})", ["somebody"])], "who did not make it can't alter it"


@pytest.mark.parametrize(
    ("change", "summary"),
    [
        ({"owner": "postgres"}, "database verify"),
        ({"settings": ("search_path=evil",)}, "database verify"),
        ({"rights": frozenset()}, "database verify"),
        ({"extensions": frozenset({"timescaledb"})}, "extension vector in verify"),
        ({"schema_owner": "pg_database_owner"}, "schema public of verify"),
        ({"event_triggers": ("bad",)}, "event trigger bad in verify"),
    ],
)
def test_a_changed_database_is_seen(postgres: Any, settled: Any, change: dict[str, Any], summary: str) -> None:
    databases = {**settled.databases, "verify": replace(settled.databases["verify"], **change)}
    (step,) = postgres.diff(wanted("postgres@db"), replace(settled, databases=databases))
    assert step.summary == summary


def test_a_schema_that_its_consumer_dropped_is_its_own_affair(postgres: Any, settled: Any) -> None:
    databases = {**settled.databases, "verify": replace(settled.databases["verify"], schema_owner="")}
    assert postgres.diff(wanted("postgres@db"), replace(settled, databases=databases)) == []


def test_a_database_that_was_its_consumers_becomes_ours(postgres: Any, settled: Any) -> None:
    before = replace(settled.databases["verify"], owner="verify", rights=frozenset(), schema_owner="pg_database_owner")
    state = replace(settled, databases={**settled.databases, "verify": before})
    database, schema = postgres.diff(wanted("postgres@db"), state)
    assert [(d.field, d.actual, d.wanted) for d in database.differences] == [("owner", "verify", "hub_reconcile")]
    assert not database.data_at_risk
    assert (schema.object, schema.details["as"]) == ("schema public of verify", "verify")


def test_what_others_were_given_of_a_database_is_taken_away(postgres: Any, settled: Any) -> None:
    rights = settled.databases["verify"].rights | {"everybody: CONNECT", "other: CONNECT"}
    databases = {**settled.databases, "verify": replace(settled.databases["verify"], rights=rights)}
    (step,) = postgres.diff(wanted("postgres@db"), replace(settled, databases=databases))
    assert [names for text, names in step.details["sql"] if text.startswith("REVOKE")] == [
        ["verify"],
        ["verify", "other"],
    ]


@pytest.mark.parametrize(("consumers", "connections"), [(1, 40), (6, 40), (7, 34), (40, 6), (900, 1)])
def test_all_logins_together_leave_connections_for_us(postgres: Any, consumers: int, connections: int) -> None:
    names = [f"c{number}" for number in range(consumers)]
    asked = Declared("postgres@db", tuple(Consumer("postgres@db", name, "any", "main", name) for name in names))
    steps = postgres.diff(asked, None)
    made = {text for step in steps for text, _ in step.details["sql"] if "CONNECTION LIMIT" in text}
    assert made == {f"ALTER ROLE {{}} LOGIN CONNECTION LIMIT {connections}"}


def test_a_password_that_does_not_work_is_set_again_and_never_shown(postgres: Any, settled: Any) -> None:
    (step,) = postgres.diff(wanted("postgres@db"), replace(settled, proven=frozenset({"verify_b"})))
    assert step.summary == "login verify_a"
    assert (step.details["login of"], step.details["half"]) == ("verify", "a")
    assert "first" not in repr(step)


class Admin(list[tuple[str, ...]]):
    """A connection that remembers what it was told."""

    def execute(self, *words: Any) -> None:
        self.append(words)

    def transaction(self) -> Any:
        return nullcontext()


def test_a_login_gets_the_password_that_is_kept_for_its_half(
    postgres: Any, service: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, ...]] = []
    monkeypatch.setattr(postgres, "as_admin", lambda service, database: nullcontext(Admin()))
    monkeypatch.setattr(postgres, "unlogged", lambda connection: None)
    monkeypatch.setattr(postgres, "set_password", lambda connection, *words: given.append(words))
    steps = postgres.diff(wanted("postgres@db"), replace(settled, proven=frozenset()))
    postgres.apply(service("postgres@db"), steps, lambda text: None)
    assert given == [("verify_a", "first"), ("verify_b", "second")]


def test_we_become_a_consumer_for_one_step_and_inherit_nothing(
    postgres: Any, service: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Admin()
    monkeypatch.setattr(postgres, "as_admin", lambda service, database: nullcontext(said))
    databases = {**settled.databases, "verify": replace(settled.databases["verify"], schema_owner="pg_database_owner")}
    steps = postgres.diff(wanted("postgres@db"), replace(settled, databases=databases))
    postgres.apply(service("postgres@db"), steps, lambda text: None)
    grant, alter, revoke = (statement.as_string() for (statement,) in said)
    assert grant == 'GRANT "verify" TO "hub_reconcile" WITH ADMIN FALSE, INHERIT FALSE, SET TRUE'
    assert alter == 'ALTER SCHEMA public OWNER TO "verify"'
    assert revoke == 'REVOKE "verify" FROM "hub_reconcile" GRANTED BY "hub_reconcile"'


def test_what_only_the_superuser_can_remove_is_told_with_the_way_there(
    postgres: Any, service: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "as_admin", lambda service, database: nullcontext(Admin()))
    databases = {**settled.databases, "verify": replace(settled.databases["verify"], event_triggers=("bad",))}
    steps = postgres.diff(wanted("postgres@db"), replace(settled, databases=databases))
    with pytest.raises(TaskFailed, match="event trigger bad in verify") as failed:
        postgres.apply(service("postgres@db"), steps, lambda text: None)
    assert failed.value.hint.startswith("aihub ssh db -- docker exec postgres-postgres-1 psql")


def test_what_one_consumer_broke_in_its_database_keeps_nothing_from_the_others(
    postgres: Any, service: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have dropped the schema that its extensions lie in."""
    done: list[str] = []

    def connect(service: Service, database: str) -> Any:
        if database != "postgres":
            raise TaskFailed("PostgreSQL refused: there is no schema public", hint="aihub up")
        return nullcontext(Admin())

    monkeypatch.setattr(postgres, "as_admin", connect)
    monkeypatch.setattr(postgres, "unlogged", lambda connection: None)
    monkeypatch.setattr(postgres, "set_password", lambda connection, name, password: done.append(name))
    broken = replace(settled.databases["verify"], extensions=frozenset())
    state = replace(settled, databases={**settled.databases, "verify": broken}, proven=frozenset())
    with pytest.raises(TaskFailed, match=r"no schema public.*no schema public"):
        postgres.apply(service("postgres@db"), postgres.diff(wanted("postgres@db"), state), lambda text: None)
    assert done == ["verify_a", "verify_b"]


def test_a_login_without_consumer_is_switched_off_and_its_database_stays(postgres: Any, settled: Any) -> None:
    steps = postgres.diff(wanted("postgres@db"), gone(postgres, settled, "old"))
    assert summaries(steps) == [f"update login old_{half} has no consumer any more" for half in "ab"]
    assert [step.details["sql"][0] for step in steps] == [
        ("ALTER ROLE {} NOLOGIN CONNECTION LIMIT 40", [f"old_{half}"]) for half in "ab"
    ]


def test_a_database_without_consumer_is_kept_and_goes_with_its_roles_when_it_is_named(
    postgres: Any, settled: Any
) -> None:
    state = gone(postgres, settled, "old")
    off = {f"old_{half}": replace(state.roles[f"old_{half}"], can=frozenset()) for half in "ab"}
    databases = {**state.databases, "theirs": postgres.Database("who")}
    state = replace(state, roles={**state.roles, **off}, databases=databases)
    assert postgres.kept(wanted("postgres@db"), state) == ["old"]
    assert postgres.diff(wanted("postgres@db"), state) == []
    (step,) = postgres.diff(replace(wanted("postgres@db"), forgotten=("old",)), state)
    assert (step.action, step.object, bool(step.data_at_risk)) == ("delete", "database old", True)
    ends = [names for text, names in step.details["sql"] if text.startswith("DROP")]
    assert ends == [["old"], ["old_a"], ["old_b"], ["old"]]


def test_what_differs_about_a_database_is_one_change(postgres: Any, settled: Any) -> None:
    more = {"everybody: CONNECT"} | settled.databases["verify"].rights
    databases = {**settled.databases, "verify": replace(settled.databases["verify"], owner="postgres", rights=more)}
    (step,) = postgres.diff(wanted("postgres@db"), replace(settled, databases=databases))
    assert [d.field for d in step.differences] == ["owner", "rights"]


# -- Valkey


@pytest.fixture
def redis() -> Any:
    return services.reconciler("redis")


@pytest.fixture
def user(redis: Any) -> Any:
    """The checks' user as it should be."""
    return redis.User(True, True, "~verify:*", "&verify:*", redis.COMMANDS)


@dataclass
class Valkey:
    """ACL users as redis-py tells them, and the commands that came."""

    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    functions: list[list[Any]] = field(default_factory=list)
    sent: list[tuple[str, ...]] = field(default_factory=list)

    def acl_users(self) -> list[str]:
        return list(self.users)

    def acl_getuser(self, name: str) -> dict[str, Any]:
        return self.users[name]

    def function_list(self) -> list[list[Any]]:
        return self.functions

    def execute_command(self, *command: str) -> None:
        self.sent.append(command)


@pytest.fixture
def valkey(redis: Any, monkeypatch: pytest.MonkeyPatch) -> Valkey:
    found = Valkey()
    monkeypatch.setattr(redis, "_admin", lambda service: nullcontext(found))
    return found


def kept() -> list[str]:
    return [hashlib.sha256(p.encode()).hexdigest() for p in PASSWORDS.values()]


@pytest.mark.parametrize(
    ("passwords", "ours"),
    [(kept(), True), (kept()[::-1], True), (kept()[:1], False), ([*kept(), "0" * 64], False), ([], False)],
)
def test_whether_a_user_has_our_passwords_is_told_when_it_is_read(
    redis: Any, service: Any, valkey: Valkey, passwords: list[str], ours: bool
) -> None:
    told = {"flags": ["on"], "passwords": passwords, "keys": "~verify:*", "channels": "&verify:*"}
    told |= {"categories": redis.COMMANDS.split(), "commands": []}
    valkey.users = {"default": {}, "hub_reconcile": {}, "verify": told, "old": {**told, "passwords": kept()}}
    found = redis.read(service("redis@cache"))
    assert {name: user.passwords for name, user in found.users.items()} == {"verify": ours, "old": False}
    assert not any(value in repr(found) for value in (*passwords, *PASSWORDS.values()))


def test_a_user_is_set_with_sums_and_no_password(redis: Any, service: Any, valkey: Valkey) -> None:
    steps = redis.diff(wanted("redis@cache"), None)
    redis.apply(service("redis@cache"), steps, lambda text: None)
    (setuser, save) = valkey.sent
    assert setuser[:5] == ("ACL", "SETUSER", "verify", "reset", "on")
    assert {part for part in setuser if part.startswith("#")} == {f"#{value}" for value in kept()}
    assert setuser[7:9] == ("~verify:*", "&verify:*")
    assert not set(PASSWORDS.values()) & set(setuser)
    assert save == ("ACL", "SAVE")


def test_a_settled_user_needs_nothing(redis: Any, user: Any) -> None:
    assert redis.diff(wanted("redis@cache"), redis.State({"verify": user})) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"on": False}, "on"),
        ({"keys": "~*"}, "keys"),
        ({"channels": "&*"}, "channels"),
        ({"commands": "+@all"}, "commands"),
        ({"passwords": False}, "passwords"),
    ],
)
def test_a_changed_user_is_seen(redis: Any, user: Any, change: dict[str, Any], name: str) -> None:
    (step,) = redis.diff(wanted("redis@cache"), redis.State({"verify": replace(user, **change)}))
    assert (step.action, step.object, [d.field for d in step.differences]) == ("update", "ACL user verify", [name])


def test_functions_that_somebody_loaded_are_seen_on_one_line_and_taken_away(
    redis: Any, service: Any, user: Any, valkey: Valkey
) -> None:
    valkey.functions = [["library_name", "shared\nline", "engine", "LUA", "functions", []]]
    state = redis.read(service("redis@cache"))
    assert state.functions == ("shared line",)
    (step,) = redis.diff(wanted("redis@cache"), redis.State({"verify": user}, state.functions))
    assert (step.action, step.summary) == ("delete", "functions that everybody could run: shared line")
    redis.apply(service("redis@cache"), [step], lambda text: None)
    assert valkey.sent == [("FUNCTION", "FLUSH"), ("ACL", "SAVE")]


def test_a_user_without_consumer_is_switched_off_once(redis: Any, service: Any, user: Any, valkey: Valkey) -> None:
    steps = redis.diff(wanted("redis@cache"), redis.State({"verify": user, "old": user}))
    assert summaries(steps) == ["update ACL user old has no consumer any more"]
    redis.apply(service("redis@cache"), steps, lambda text: None)
    assert valkey.sent[0] == ("ACL", "SETUSER", "old", "off")
    assert redis.diff(wanted("redis@cache"), redis.State({"verify": user, "old": replace(user, on=False)})) == []


# -- LiteLLM


@pytest.fixture
def litellm() -> Any:
    return services.reconciler("litellm")


@pytest.fixture
def gateway(litellm: Any) -> Any:
    """A LiteLLM that has all that it should."""
    keys = tuple(key(litellm, f"verify_{half}") for half in "ab")
    return litellm.State({"verify": litellm.Team("verify", models=[])}, keys, frozenset({"verify_a", "verify_b"}))


def key(litellm: Any, alias: str) -> Any:
    return litellm.Key(f"sum of {alias}", alias, alias[:-2], ["llm_api_routes"], [])


def left_over(litellm: Any, gateway: Any) -> Any:
    """A gateway that also has a team and keys, whom nobody declares."""
    more = (key(litellm, "gone_a"), litellm.Key("0123456789abcdef"))
    return replace(gateway, teams={**gateway.teams, "gone": litellm.Team("gone")}, keys=(*gateway.keys, *more))


def test_an_empty_gateway_gets_a_team_with_two_keys(litellm: Any) -> None:
    steps = litellm.diff(wanted("litellm@ai"), litellm.State({}, (), frozenset()))
    assert summaries(steps) == ["create team verify", "create key verify_a", "create key verify_b"]


def test_a_settled_gateway_needs_nothing(litellm: Any, gateway: Any) -> None:
    assert litellm.diff(wanted("litellm@ai"), gateway) == []


def test_keys_and_teams_that_nobody_declares_go(litellm: Any, gateway: Any) -> None:
    steps = litellm.diff(wanted("litellm@ai"), left_over(litellm, gateway))
    assert summaries(steps) == [
        f"delete {name} has no consumer" for name in ("key gone_a", "key 0123456789ab", "team gone")
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"team_id": "other"}, "team"),
        ({"team_id": None}, "team"),
        ({"allowed_routes": []}, "routes"),
        ({"allowed_routes": ["llm_api_routes", "management_routes"]}, "routes"),
        ({"models": ["small"]}, "models"),
        ({"blocked": True}, "blocked"),
        ({"expires": "2026-01-01"}, "expires"),
    ],
)
def test_a_changed_key_is_seen(litellm: Any, gateway: Any, change: dict[str, Any], field: str) -> None:
    first, second = gateway.keys
    (step,) = litellm.diff(wanted("litellm@ai"), replace(gateway, keys=(replace(first, **change), second)))
    assert (step.action, step.object, [d.field for d in step.differences]) == ("update", "key verify_a", [field])


def test_a_key_of_another_value_is_seen(litellm: Any, gateway: Any) -> None:
    (step,) = litellm.diff(wanted("litellm@ai"), replace(gateway, ours=frozenset({"verify_a"})))
    assert [(d.field, d.actual, d.wanted) for d in step.differences] == [("value", "another", "the one that we keep")]


def test_what_a_consumer_asks_for_limits_both_of_its_keys_together(litellm: Any, gateway: Any) -> None:
    options = {"rpm": "60", "budget": "1.5", "models": "small,large"}
    asked = Declared("litellm@ai", (Consumer("litellm@ai", "verify", "any", "verify", "verify", options=options),))
    (step,) = litellm.diff(asked, gateway)
    assert (step.action, step.object) == ("update", "team verify")
    assert [(d.field, d.wanted) for d in step.differences] == [
        ("requests per minute", "60"), ("budget", "1.5"), ("models", "large, small"),
    ]  # fmt: skip
    team = step.details["team"]
    assert (team["rpm_limit"], team["max_budget"], team["models"]) == (60, 1.5, ["small", "large"])


@pytest.mark.parametrize(
    "options", [{"rpm": "many"}, {"rpm": "-1"}, {"rpm": "1.5"}, {"budget": "much"}, {"budget": "nan"}]
)
def test_a_limit_that_is_no_number_is_told_in_words(litellm: Any, options: dict[str, str]) -> None:
    asked = Declared("litellm@ai", (Consumer("litellm@ai", "web@ai", "openai", "chat", "web", options=options),))
    with pytest.raises(InvalidInput, match="web@ai needs openai as chat with"):
        litellm.diff(asked, None)
