"""Reconciling: which services, with which logins, and that plans show no secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.errors import Conflict, HubError, PreconditionFailed, Unreachable
from aihub.model.resolved import Hub
from aihub.plan import Difference
from aihub.reading import load
from aihub.services import declared, road
from aihub.services import service as services
from aihub.services.declared import Declared
from aihub.services.road import Road
from aihub.services.secrets import Entry
from aihub.services.service import Service, Step
from aihub.state.directory import State


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


NOWHERE = Road(nullcontext, nullcontext)


class Store:
    """Every password is its own place in capitals."""

    def read(self, path: str) -> Entry | None:
        data = {half: f"{path}/{half}".upper() for half in "ab"}
        return (
            None if path == "operator/pair/redis@cache/verify" else Entry({**data, "active": "b"}, 1, datetime.now(UTC))
        )


@dataclass
class Fake:
    """A reconcile.py that keeps what it was asked."""

    steps: list[Step]
    applied: list[Step] = field(default_factory=list)

    def read(self, service: Service) -> Any:
        service.road.socket()
        return {}

    def diff(self, declared: Declared, state: Any) -> list[Step]:
        return [] if self.applied else self.steps

    def apply(self, service: Service, steps: Any, say: Any) -> None:
        say("made")
        self.applied.extend(steps)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    asked: list[tuple[str, str]] = []

    @contextmanager
    def forward(state: State, alias: str, remote: str) -> Iterator[Path]:
        asked.append((alias, remote))
        yield tmp_path / "socket"

    @contextmanager
    def forward_tcp(state: State, alias: str, remote: str) -> Iterator[int]:
        asked.append((f"tcp {alias}", remote))
        yield 40000

    monkeypatch.setattr(road.ssh, "forward", forward)
    monkeypatch.setattr(road.ssh, "forward_tcp", forward_tcp)
    return asked


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    step = Step("create", "login app_a", (Difference("password", "refused", "accepted"),))
    made = Fake([step])
    monkeypatch.setattr(services, "reconciler", lambda stack: made)
    return made


def test_the_stacks_with_a_reconcile_py_are_found(hub: Hub) -> None:
    assert {i.stack.name for i in services.reconciled(hub)} == {"litellm", "ollama", "postgres", "qdrant", "redis"}


@pytest.mark.parametrize("stack", ["litellm", "ollama", "postgres", "redis"])
def test_each_reconcile_py_loads_and_offers_all_three(stack: str) -> None:
    module = services.reconciler(stack)
    assert callable(module.read)
    assert callable(module.diff)
    assert callable(module.apply)


@pytest.mark.parametrize("stack", ["postgres", "redis"])
def test_a_stack_that_others_log_in_at_can_replace_and_try_passwords(stack: str) -> None:
    module = services.provider(stack)
    assert callable(module.set_passwords)
    assert callable(module.can_login)


def test_a_plan_reads_and_changes_nothing(hub: Hub, fake: Fake, forwards: Any, tmp_path: Path) -> None:
    (change,), _ = services.plan(hub, State(tmp_path), Store(), ["postgres@db"])
    assert (change.subject, change.owner, change.identity, change.action) == (
        "postgres@db: login app_a",
        "services",
        "service",
        "create",
    )
    assert fake.applied == []
    assert forwards == [("db", "10.10.10.11:5432")]


def test_a_change_s_subject_is_the_object_and_not_only_its_instance(
    hub: Hub, fake: Fake, forwards: Any, tmp_path: Path
) -> None:
    fake.steps = [
        Step("update", "login app_a", restart=True),
        Step("delete", "database app", why="has no consumer", data_at_risk="database app"),
    ]
    (first, second), _ = services.plan(hub, State(tmp_path), Store(), ["postgres@db"])
    assert (first.subject, first.summary, first.restart) == ("postgres@db: login app_a", "login app_a", True)
    assert (second.subject, second.summary) == ("postgres@db: database app", "database app has no consumer")
    assert (second.action, second.data_at_risk) == ("delete", "database app")


def test_the_first_day_is_known_without_a_connection(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is declared is told, though nothing runs and there is no store."""

    def no(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was contacted")

    monkeypatch.setattr(services, "opened", no)
    changes = services.first(hub, [i.name for i in hub.instances])
    assert {c.action for c in changes} == {"create"}
    subjects = [c.subject for c in changes]
    assert "postgres@private-data: database canary_private_ai_main" in subjects
    assert "redis@cache: ACL user verify" in subjects
    assert "ollama@private-ai: model qwen2.5:32b-instruct-q4_K_M" in subjects
    assert len(set(subjects)) == len(subjects)
    assert [c.subject.partition(":")[0] for c in services.first(hub, ["redis@cache", "chroma@private-ai"])] == [
        "redis@cache"
    ] * sum(c.provider == "redis@cache" for c in hub.consumers)


def test_only_the_named_instances_are_asked(hub: Hub, fake: Fake, forwards: Any, tmp_path: Path) -> None:
    assert services.plan(hub, State(tmp_path), Store(), ["chroma@private-ai", "nobody@nowhere"]) == ([], {})
    assert forwards == []


def agree(changes: Any) -> None:
    """Whatever is asked."""


def test_apply_tells_what_it_did_and_then_has_nothing_to_do(
    hub: Hub, fake: Fake, forwards: Any, tmp_path: Path
) -> None:
    said: list[tuple[str, str]] = []
    state = State(tmp_path)
    done = services.apply(hub, state, Store(), ["redis@cache"], agree, lambda *words: said.append(words))
    assert [c.summary for c in done] == ["login app_a"]
    assert said == [("redis@cache", "made")]
    assert services.apply(hub, state, Store(), ["redis@cache"], agree, lambda *words: None) == []


def test_nothing_is_applied_before_everything_was_looked_at_and_agreed(
    hub: Hub, fake: Fake, forwards: Any, tmp_path: Path
) -> None:
    asked: list[list[str]] = []

    def refuse(changes: Any) -> None:
        asked.append([c.subject for c in changes])
        raise Conflict("more than was agreed")

    with pytest.raises(Conflict):
        services.apply(hub, State(tmp_path), Store(), ["redis@cache", "postgres@db"], refuse, lambda *words: None)
    assert [sorted(subjects) for subjects in asked] == [["postgres@db: login app_a", "redis@cache: login app_a"]]
    assert fake.applied == []


def test_what_was_looked_at_is_what_is_applied(hub: Hub, fake: Fake, forwards: Any, tmp_path: Path) -> None:
    """What came up while somebody agreed is left to the next run."""

    def late(changes: Any) -> None:
        fake.steps = [Step("delete", "database app", data_at_risk="all of it")]

    done = services.apply(hub, State(tmp_path), Store(), ["postgres@db"], late, lambda *words: None)
    assert [step.object for step in fake.applied] == ["login app_a"] == [c.summary for c in done]


def test_a_silent_instance_stops_no_other_and_is_told_at_the_end(
    hub: Hub, fake: Fake, forwards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(service: Service) -> Any:
        if service.instance.name == "postgres@db":
            raise Unreachable("no answer", where=service.instance.name)

    monkeypatch.setattr(fake, "read", silent)
    with pytest.raises(Unreachable) as raised:
        services.apply(hub, State(tmp_path), Store(), ["postgres@db", "redis@cache"], agree, lambda *words: None)
    assert raised.value.where == "postgres@db"
    assert len(fake.applied) == 1


def test_a_way_to_a_service_is_opened_when_it_is_asked_for_and_once(
    hub: Hub, forwards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with services.opened(hub, State(tmp_path), Store(), hub.instance("postgres@db")) as service:
        assert forwards == []
        for _ in range(2):
            with service.port() as port:
                assert port != 40000, "what is said there is bounded"
        assert forwards == [("tcp db", "10.10.10.11:5432")]
        assert service.road.socket() == service.road.socket()
        assert forwards[1:] == [("db", "10.10.10.11:5432")]


def test_a_silent_service_is_an_error(
    hub: Hub, fake: Fake, forwards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(service: Service) -> Any:
        raise Unreachable("no answer", where=service.instance.name)

    monkeypatch.setattr(fake, "read", silent)
    with pytest.raises(Unreachable) as raised:
        services.plan(hub, State(tmp_path), Store(), ["postgres@db"])
    assert raised.value.where == "postgres@db"


def test_what_answers_http_is_reached_behind_its_guests_door(
    hub: Hub, fake: Fake, forwards: Any, tmp_path: Path
) -> None:
    services.plan(hub, State(tmp_path), Store(), ["ollama@private-ai"])
    assert forwards == [("private-ai", "127.0.0.1:11434")]


def test_a_stack_without_port_cannot_be_reconciled(hub: Hub, fake: Fake, forwards: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    instance = hub.instance("redis@cache")
    closed = replace(instance, stack=instance.stack.model_copy(update={"gives": {}}))
    with pytest.raises(HubError, match="needs a port"):
        services.plan(replace(hub, instances=(closed,)), State(tmp_path), Store(), ["redis@cache"])


def test_what_is_declared_of_a_provider_is_who_logs_in_there(hub: Hub) -> None:
    found = Service(hub, hub.instance("postgres@db"), Store(), Path("ca.pem"), NOWHERE).declared
    assert found.instance == "postgres@db"
    assert {(one.role, one.consumer, one.key) for one in found.consumers} == {
        ("verify", "verify", "verify"),
        ("canary_monitoring_main", "canary@monitoring", "main"),
        ("canary_public_ai_main", "canary@public-ai", "main"),
        ("litellm_public_ai_main", "litellm@public-ai", "main"),
        ("open_webui_public_ai_main", "open-webui@public-ai", "main"),
    }
    assert found.models == ()


def test_what_is_declared_of_an_engine_is_what_it_serves(hub: Hub) -> None:
    found = declared.of(hub, hub.instance("ollama@private-ai"))
    assert (found.consumers, found.models) == ((), ("qwen2.5:32b-instruct-q4_K_M", "qwen2.5:14b-instruct-q8_0"))
    assert declared.of(hub, hub.instance("chroma@private-ai")).models == ()


def test_our_own_pair_is_the_providers_own_entry(hub: Hub) -> None:
    service = Service(hub, hub.instance("postgres@db"), Store(), Path("ca.pem"), NOWHERE)
    pair = service.pair("hub_reconcile")
    assert (pair["a"], pair["active"]) == ("HUB/DB/POSTGRES/RECONCILE/A", "b")
    assert service.server_name == "db.hub.home.arpa"


def test_a_pair_that_is_not_kept_is_told(hub: Hub) -> None:
    service = Service(hub, hub.instance("redis@cache"), Store(), Path("ca.pem"), NOWHERE)
    with pytest.raises(PreconditionFailed, match="Vault holds no passwords of verify"):
        service.pair("verify")
