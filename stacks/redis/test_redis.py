"""Valkey answers its consumers, each within its own keys, and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from secrets import token_hex

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

ONCE = Retry(NoBackoff(), 0)  # a refused login is an answer


@pytest.fixture(scope="session")
def client(forward: Callable[[int], int], secret: Callable[[str], str]) -> Iterator[Callable[..., redis.Redis]]:
    """`client()`: a connection as the checks' own user; other names and passwords on request."""
    clients: list[redis.Redis] = []

    def connect(user: str = "verify", password: str = "", half: str = "a") -> redis.Redis:
        clients.append(
            redis.Redis(
                port=forward(6379),
                username=user,
                password=password or secret(f"verify_{half}"),
                socket_timeout=10,
                retry=ONCE,
                decode_responses=True,
            )
        )
        return clients[-1]

    yield connect
    for one in clients:
        one.close()


@pytest.mark.parametrize("half", ["a", "b"])
def test_keys(client: Callable[..., redis.Redis], half: str) -> None:
    """either password of a user stores and reads its own keys"""
    mine, key = client(half=half), f"verify:{token_hex(8)}"
    mine.set(key, "kept", ex=60)
    assert mine.get(key) == "kept"
    assert mine.delete(key) == 1


def test_other_keys(client: Callable[..., redis.Redis]) -> None:
    """a user can neither read, write nor list keys of others"""
    mine = client()
    for attempt in (
        lambda: mine.get("other:key"),
        lambda: mine.set("other:key", "x", ex=1),
        lambda: mine.keys("*"),
        mine.scan,
        lambda: mine.publish("other:channel", "x"),
        lambda: mine.eval("return redis.call('get', KEYS[1])", 1, "other:key"),
    ):
        with pytest.raises((redis.exceptions.NoPermissionError, redis.exceptions.ResponseError)):
            attempt()


def test_administration(client: Callable[..., redis.Redis]) -> None:
    """a user can't change the server or see its users"""
    mine = client()
    for attempt in (mine.acl_list, mine.config_get, mine.flushall, mine.shutdown):
        with pytest.raises(redis.exceptions.NoPermissionError):
            attempt()


def test_strangers(forward: Callable[[int], int], client: Callable[..., redis.Redis]) -> None:
    """no password, a wrong one and an unknown user are refused"""
    nobody = redis.Redis(port=forward(6379), socket_timeout=10, retry=ONCE)
    with nobody, pytest.raises(redis.exceptions.AuthenticationError):
        nobody.ping()
    for stranger in (
        client(password="not-the-password"),
        client("stranger"),
        client("default"),
    ):
        with pytest.raises(redis.exceptions.AuthenticationError):
            stranger.ping()


def test_memory(client: Callable[..., redis.Redis]) -> None:
    """it refuses writes when it is full, rather than forgetting keys"""
    assert client().info("memory")["maxmemory_policy"] == "noeviction"
