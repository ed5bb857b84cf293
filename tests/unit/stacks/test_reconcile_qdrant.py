"""Qdrant's reconcile.py: the tokens that it makes, which are in use, and how one ends; against the lab's stand-in."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.errors import TaskFailed
from aihub.model.resolved import RECONCILE_ROLE, Consumer, Instance, Pair
from aihub.reading import load
from aihub.services import service as services
from aihub.services.declared import Declared
from aihub.services.road import Road
from aihub.services.secrets import Entry
from aihub.services.service import Service

from tests.unit.stacks.test_qdrant_stand_in import KEYS, Running

qdrant: Any = services.reconciler("qdrant")
SECRETS = {"signing_key": KEYS["alt_api_key"]}
NAME = "qdrant@db"
pytestmark = pytest.mark.filterwarnings("ignore:Api key is used")


def passwords(role: str, a: str, b: str) -> dict[str, str]:
    return {half: qdrant.make_password(role, value, SECRETS) for half, value in (("a", a), ("b", b))}


class Store:
    """aihub's own key, and the tokens of two consumers."""

    def __init__(self) -> None:
        self.pairs: dict[str, Mapping[str, str]] = {
            RECONCILE_ROLE: {"a": str(KEYS["api_key"])},
            "one": passwords("one", "first", "second"),
            "two": passwords("two", "third", "fourth"),
        }

    def read(self, path: str) -> Entry:
        return Entry({**self.pairs[path], "active": "a"}, 1, datetime.now(UTC))


@contextmanager
def leading(folder: Path, port: int) -> Iterator[Path]:
    """A unix socket that leads to a port, as ssh makes one."""
    path = folder / "road"

    def carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                target.sendall(part)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                ends = (near, far)
                pair = [threading.Thread(target=carry, args=way) for way in (ends, ends[::-1])]
                for thread in pair:
                    thread.start()
                for thread in pair:
                    thread.join()
                near.close()
                far.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("qdrant"))
    yield running
    running.end(signal.SIGTERM)


@pytest.fixture
def service(server: Running, tmp_path: Path) -> Iterator[Any]:
    """Qdrant with two consumers; what it holds goes after each test."""
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    instance = Instance(stack=load.stack("qdrant"), guest=hub.guests["db"], options={})
    consumers = tuple(Consumer(NAME, "any@db", "qdrant", role, role) for role in ("one", "two"))
    pairs = tuple(Pair(NAME, role, role, None, 90, "overlap") for role in (RECONCILE_ROLE, "one", "two"))
    mine = replace(hub, instances=(instance,), consumers=consumers, pairs=pairs)
    with leading(tmp_path, server.port) as path:
        road = Road(lambda: nullcontext(path), lambda: nullcontext(server.port))
        yield Service(mine, instance, Store(), Path("ca.pem"), road)  # type: ignore[arg-type]
    for one in server.client().get_collections().collections:
        server.client().delete_collection(one.name)


def declared(service: Service) -> Declared:
    return Declared(NAME, service.hub.consumers)


def reconciled(service: Service) -> list[str]:
    steps = qdrant.diff(declared(service), qdrant.read(service))
    qdrant.apply(service, steps, lambda words: None)
    return [step.summary for step in steps]


def test_tokens_open_once_they_are_put_in_use_and_a_second_round_does_nothing(service: Any) -> None:
    one = service.secrets.pairs["one"]
    assert not qdrant.can_login(service, "one", "a", one["a"])
    assert reconciled(service) == ["tokens of one", "tokens of two"]
    assert all(qdrant.can_login(service, "one", half, one[half]) for half in ("a", "b"))
    assert reconciled(service) == []
    assert qdrant.can_login(service, RECONCILE_ROLE, "a", KEYS["api_key"])
    assert not qdrant.can_login(service, RECONCILE_ROLE, "a", "another")


def test_a_replaced_token_ends_and_the_other_half_and_the_other_consumer_go_on(service: Any) -> None:
    reconciled(service)
    before, two = dict(service.secrets.pairs["one"]), service.secrets.pairs["two"]
    after = {"a": before["a"], "b": passwords("one", "-", "fresh")["b"]}
    qdrant.set_passwords(service, "one", after, "b")
    assert qdrant.can_login(service, "one", "b", after["b"])
    assert qdrant.can_login(service, "one", "a", before["a"])
    assert not qdrant.can_login(service, "one", "b", before["b"])
    assert qdrant.can_login(service, "two", "a", two["a"])
    qdrant.set_passwords(service, "one", after, "b")  # again: nothing is different
    service.secrets.pairs["one"] = after
    assert reconciled(service) == []


def test_tokens_of_a_consumer_that_is_gone_end(service: Any) -> None:
    reconciled(service)
    left = replace(service, hub=replace(service.hub, consumers=service.hub.consumers[:1]))
    assert reconciled(left) == ["tokens of nobody (2)"]
    assert not qdrant.can_login(service, "two", "a", service.secrets.pairs["two"]["a"])
    assert qdrant.can_login(service, "one", "a", service.secrets.pairs["one"]["a"])


def test_kept_data_comes_with_old_tokens_and_these_go_with_what_was_agreed(service: Any) -> None:
    reconciled(service)
    old = dict(service.secrets.pairs)
    service.secrets.pairs |= {"one": passwords("one", "new", "newer"), "two": passwords("two", "fresh", "fresher")}
    agreed = [step.summary for step in qdrant.diff(declared(service), None)]
    assert reconciled(service) == agreed
    assert reconciled(service) == []
    assert not any(qdrant.can_login(service, role, "a", old[role]["a"]) for role in ("one", "two"))
    assert all(qdrant.can_login(service, role, "b", service.secrets.pairs[role]["b"]) for role in ("one", "two"))


def test_what_a_consumer_does_to_the_points_is_put_right(service: Any, server: Running) -> None:
    reconciled(service)
    client = server.client(service.secrets.pairs["two"]["a"])
    client.delete_collection(qdrant.TOKENS)
    assert not qdrant.can_login(service, "one", "a", service.secrets.pairs["one"]["a"])
    assert reconciled(service) == ["tokens of one", "tokens of two"]
    client.set_payload(qdrant.TOKENS, {"token": "mine"}, points=qdrant._names(service.secrets.pairs["one"])[:1])
    assert reconciled(service) == ["tokens of one"]
    assert reconciled(service) == []


def test_aihubs_own_key_comes_with_a_start_only(service: Any) -> None:
    with pytest.raises(TaskFailed, match="comes with a start"):
        qdrant.set_passwords(service, RECONCILE_ROLE, {"a": "new"}, "a")


def test_a_token_is_another_for_another_value_role_or_key() -> None:
    made = {
        qdrant.make_password(role, value, {"signing_key": key})
        for role in ("one", "two")
        for value in ("first", "second")
        for key in ("k", "l")
    }
    assert len(made) == 8
    assert qdrant.make_password("one", "first", SECRETS) == qdrant.make_password("one", "first", SECRETS)
    assert "first" not in qdrant.make_password("one", "first", SECRETS)


def test_on_the_first_day_every_consumer_gets_its_tokens() -> None:
    consumers = (Consumer(NAME, "any@db", "qdrant", "one", "one"),)
    assert [step.summary for step in qdrant.diff(Declared(NAME, consumers), None)] == ["tokens of one"]
