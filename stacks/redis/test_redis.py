"""Valkey answers its consumers, each within its own keys, and nobody else."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from secrets import token_hex

import pytest
import redis
from aihub.checks import tls
from aihub.model.resolved import Instance
from aihub.state.directory import State
from redis.backoff import NoBackoff
from redis.retry import Retry

ONCE = Retry(NoBackoff(), 0)  # a refused login is an answer


class Connection(redis.SSLConnection):
    """Reaches the server through this machine's loopback and wants it to prove its own name."""

    server = ""

    def _wrap_socket_with_ssl(self, sock):  # type: ignore[no-untyped-def]  # redis-py has no types here
        self.host, address = self.server, self.host
        try:
            return super()._wrap_socket_with_ssl(sock)
        finally:
            self.host = address


@pytest.fixture(scope="session")
def pool(forward: Callable[[int], int], instance: Instance, state: State) -> Callable[..., redis.ConnectionPool]:
    """`pool(username=..., password=...)`: connections over TLS to this instance."""
    named = type("Named", (Connection,), {"server": instance.guest.fqdn})

    def make(**options: str) -> redis.ConnectionPool:
        return redis.ConnectionPool(
            connection_class=named, host="127.0.0.1", port=forward(6379), socket_timeout=10, retry=ONCE,
            ssl_ca_certs=str(state.ca), decode_responses=True, **options,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def client(
    pool: Callable[..., redis.ConnectionPool], secret: Callable[[str], str]
) -> Iterator[Callable[..., redis.Redis]]:
    """`client()`: a connection as the checks' own user; other names and passwords on request."""
    clients: list[redis.Redis] = []

    def connect(user: str = "verify", password: str = "", half: str = "a") -> redis.Redis:
        chosen = password or secret(f"verify_{half}")
        clients.append(redis.Redis(connection_pool=pool(username=user, password=chosen)))
        return clients[-1]

    yield connect
    for one in clients:
        one.close()
        one.connection_pool.disconnect()


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


def test_strangers(pool: Callable[..., redis.ConnectionPool], client: Callable[..., redis.Redis]) -> None:
    """no password, a wrong one and an unknown user are refused"""
    nobody = redis.Redis(connection_pool=pool())
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
