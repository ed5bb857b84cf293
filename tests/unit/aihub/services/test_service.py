"""Reconciling: which services, with which logins, and that plans show no secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.errors import HubError, PreconditionFailed, Unreachable
from aihub.model.resolved import Hub
from aihub.plan import Difference
from aihub.reading import load
from aihub.services import service as services
from aihub.services.secrets import Entry
from aihub.services.service import Service, Step
from aihub.state.directory import State


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


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
    sockets: list[Path] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def read(self, service: Service) -> Any:
        self.sockets.append(service.socket)
        self.ports.append(service.port)
        return {}

    def diff(self, service: Service, state: Any) -> list[Step]:
        return [] if self.applied else self.steps

    def apply(self, service: Service, steps: Any, say: Any) -> None:
        say("made")
        self.applied.extend(steps)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    asked: list[tuple[str, str]] = []

    @contextmanager
    def forward(state: State, alias: str, socket: Path, remote: str) -> Iterator[Path]:
        asked.append((alias, remote))
        yield socket

    @contextmanager
    def forward_tcp(state: State, alias: str, remote: str) -> Iterator[int]:
        asked.append((f"tcp {alias}", remote))
        yield 40000

    monkeypatch.setattr(services.ssh, "forward", forward)
    monkeypatch.setattr(services.ssh, "forward_tcp", forward_tcp)
    return asked


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    step = Step("create", "login app_a", (Difference("password", "refused", "accepted"),), {"password": "SECRET"})
    made = Fake([step])
    monkeypatch.setattr(services, "reconciler", lambda stack: made)
    return made


def test_the_stacks_with_a_reconcile_py_are_found(hub: Hub) -> None:
    assert {i.stack.name for i in services.reconciled(hub)} == {"postgres", "redis", "ollama"}


@pytest.mark.parametrize("stack", ["postgres", "redis", "ollama"])
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
    (change,) = services.plan(hub, State(tmp_path), Store(), ["postgres@db"])
    assert (change.subject, change.owner, change.identity, change.action) == (
        "postgres@db",
        "service",
        "service",
        "create",
    )
    assert fake.applied == []
    assert forwards == [("db", "10.10.10.11:5432")]


def test_no_secret_is_in_a_plan(hub: Hub, fake: Fake, forwards: Any, tmp_path: Path) -> None:
    changes = services.plan(hub, State(tmp_path), Store(), ["postgres@db"])
    assert "SECRET" not in repr(changes)
    assert "SECRET" not in str([c.as_json() for c in changes])
    assert "SECRET" not in repr(fake.steps)


def test_only_the_named_instances_are_asked(hub: Hub, fake: Fake, forwards: Any, tmp_path: Path) -> None:
    assert services.plan(hub, State(tmp_path), Store(), ["chroma@private-ai", "nobody@nowhere"]) == []
    assert forwards == []


def test_apply_tells_what_it_did_and_then_has_nothing_to_do(
    hub: Hub, fake: Fake, forwards: Any, tmp_path: Path
) -> None:
    said: list[tuple[str, str]] = []
    state = State(tmp_path)
    done = services.apply(hub, state, Store(), ["redis@cache"], lambda *words: said.append(words))
    assert [c.summary for c in done] == ["login app_a"]
    assert said == [("redis@cache", "made")]
    assert services.apply(hub, state, Store(), ["redis@cache"], lambda *words: None) == []


def test_the_socket_s_directory_is_gone_afterwards(hub: Hub, fake: Fake, forwards: Any, tmp_path: Path) -> None:
    services.plan(hub, State(tmp_path), Store(), ["postgres@db"])
    (socket,) = fake.sockets
    assert socket.parent.name.startswith("service-110-postgres-")
    assert not socket.parent.exists()


def test_a_port_of_the_loopback_is_opened_only_for_who_needs_one(
    hub: Hub, fake: Fake, forwards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.plan(hub, State(tmp_path), Store(), ["postgres@db"])
    monkeypatch.setattr(fake, "TCP", True, raising=False)
    services.plan(hub, State(tmp_path), Store(), ["postgres@db"])
    assert fake.ports == [0, 40000]
    assert ("tcp db", "10.10.10.11:5432") in forwards


def test_a_silent_service_is_an_error(
    hub: Hub, fake: Fake, forwards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(service: Service) -> Any:
        raise Unreachable("no answer", where=service.instance.name)

    monkeypatch.setattr(fake, "read", silent)
    with pytest.raises(Unreachable) as raised:
        services.plan(hub, State(tmp_path), Store(), ["postgres@db"])
    assert raised.value.where == "postgres@db"


def test_a_stack_without_port_cannot_be_reconciled(hub: Hub, fake: Fake, forwards: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    instance = hub.instance("redis@cache")
    closed = replace(instance, stack=instance.stack.model_copy(update={"gives": {}}))
    with pytest.raises(HubError, match="no port"):
        services.plan(replace(hub, instances=(closed,)), State(tmp_path), Store(), ["redis@cache"])


def test_everyone_who_logs_in_here_is_known_with_both_passwords(hub: Hub) -> None:
    service = Service(hub, hub.instance("postgres@db"), Store(), Path("ca.pem"), Path("socket"))
    logins = {login.role: login.passwords for login in service.logins()}
    assert set(logins) == {
        "verify", "canary_monitoring_main", "canary_private_ai_main", "canary_public_ai_main",
    }  # fmt: skip
    assert logins["verify"] == {half: f"OPERATOR/PAIR/POSTGRES@DB/VERIFY/{half.upper()}" for half in "ab"}
    assert "VERIFY/A" not in repr(service.logins())


def test_our_own_pair_is_the_providers_own_entry(hub: Hub) -> None:
    service = Service(hub, hub.instance("postgres@db"), Store(), Path("ca.pem"), Path("socket"))
    pair = service.pair("hub_reconcile")
    assert (pair["a"], pair["active"]) == ("HUB/INFRA/DB/POSTGRES/RECONCILE/A", "b")
    assert service.server_name == "db.hub.home.arpa"


def test_a_pair_that_is_not_kept_is_told(hub: Hub) -> None:
    service = Service(hub, hub.instance("redis@cache"), Store(), Path("ca.pem"), Path("socket"))
    with pytest.raises(PreconditionFailed, match="no passwords of verify"):
        service.logins()
