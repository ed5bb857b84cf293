"""Valkey answers its consumers, each within its own keys, and nobody else."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import redis
from aihub.checks import tls
from aihub.model.resolved import Instance
from aihub.state.directory import State
from redis.backoff import NoBackoff
from redis.retry import Retry

ONCE = Retry(NoBackoff(), 0)  # a refused login is an answer


@pytest.fixture(scope="session")
def connect(relay: Callable[[int], Path]) -> Iterator[Callable[..., redis.Redis]]:
    """`connect(username=..., password=...)`: a client over TLS to this instance."""
    path, clients = relay(6379), list[redis.Redis]()

    def make(username: str | None = None, password: str | None = None) -> redis.Redis:
        one = redis.Redis(
            unix_socket_path=str(path), username=username, password=password, socket_timeout=10, retry=ONCE,
            decode_responses=True,
        )  # fmt: skip
        clients.append(one)
        return one

    yield make
    for one in clients:
        one.close()


@pytest.fixture(scope="session")
def client(connect: Callable[..., redis.Redis], secret: Callable[[str], str]) -> Callable[..., redis.Redis]:
    """`client()`: a connection as the checks' own user; other names and passwords on request."""

    def log_in(user: str = "verify", password: str = "", half: str = "a") -> redis.Redis:
        return connect(username=user, password=password or secret(f"verify_{half}"))

    return log_in


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
        with pytest.raises(redis.exceptions.NoPermissionError):
            attempt()


def test_administration(client: Callable[..., redis.Redis]) -> None:
    """a user can't change the server or see its users"""
    mine = client()
    for attempt in (mine.acl_list, mine.config_get, mine.flushall, mine.shutdown):
        with pytest.raises(redis.exceptions.NoPermissionError):
            attempt()


ALL = ("FUNCTION LIST", "FCALL f 0", "SCRIPT EXISTS x", "EVAL return 0", "PUBSUB CHANNELS", "CLIENT TRACKING ON BCAST",
       "CLIENT LIST", "DBSIZE", "INFO", "MEMORY STATS")  # fmt: skip


@pytest.mark.parametrize("command", ALL)
def test_everybodys(client: Callable[..., redis.Redis], command: str) -> None:
    """a user can't use or see what is the whole server's"""
    mine: Any = client()
    with pytest.raises(redis.exceptions.NoPermissionError):
        mine.execute_command(*command.split())


def test_plaintext(forward: Callable[[int], int], instance: Instance, state: State) -> None:
    """a connection without TLS is refused"""
    tls.certificate(forward(6379), instance.guest.fqdn, state.ca)  # with TLS it answers: else a refusal proves nothing
    plain = redis.Redis(port=forward(6379), socket_timeout=10, retry=ONCE)
    with plain, pytest.raises(redis.exceptions.ConnectionError):
        plain.ping()


def test_certificate(forward: Callable[[int], int], instance: Instance, state: State) -> None:
    """it proves its name with a certificate of the hub's own authority"""
    _, version = tls.certificate(forward(6379), instance.guest.fqdn, state.ca)
    assert version == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        tls.certificate(forward(6379), f"other.{instance.guest.fqdn}", state.ca)


def test_old_tls(forward: Callable[[int], int], instance: Instance, state: State) -> None:
    """it refuses TLS older than 1.2"""
    refusal = tls.refusal_of_old(forward(6379), instance.guest.fqdn, state.ca)
    assert "PROTOCOL" in refusal, refusal or "it was let in"


def test_strangers(connect: Callable[..., redis.Redis], client: Callable[..., redis.Redis]) -> None:
    """no password, a wrong one and an unknown user are refused"""
    for stranger in (
        connect(),
        client(password="not-the-password"),
        client("stranger"),
        client("default"),
    ):
        with pytest.raises(redis.exceptions.AuthenticationError):
            stranger.ping()


def test_memory(execute: Callable[..., str]) -> None:
    """it refuses writes when it is full, rather than forgetting keys"""
    execute("redis", "sh", "/etc/valkey/ask.sh", "CONFIG GET maxmemory-policy", "maxmemory-policy\nnoeviction")
