"""A service or the store stands on a guest that was taken: it answers without end, not at all, or a byte now and then.

Real clients against servers on loopback that prove the guest's name, as who is root there can. Each has its own bounds;
without them the same client takes all that it is told, and waits for as long as somebody likes.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from aihub import paths
from aihub.errors import HubError
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.services import http, wire
from aihub.services import service as services
from aihub.services.road import Road
from aihub.services.service import Service
from aihub.vault import certificates, client
from aihub.vault import wire as vault_wire
from aihub.vault.client import Vault

from tests.attacks import hostile_servers
from tests.attacks.hostile_servers import MIB, MOST, Manner

pytestmark = pytest.mark.slow

KINDS = ("postgres@db", "redis@cache", "ollama@private-ai")
MANNERS = ("endless", "silent", "dripping")
SECONDS = 20.0  # beside other work; each bound of time is made shorter than a tenth of that
Ask = Callable[[], object]


class Passwords:
    """What the store would hold of a pair."""

    def read(self, path: str) -> SimpleNamespace:
        return SimpleNamespace(data={"a": "a" * 40, "b": "b" * 40, "active": "a"}, version=1)


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


@pytest.fixture(scope="module")
def authority(hub: Hub) -> certificates.Authority:
    return certificates.new_root(hub.name, hub.domain)


@pytest.fixture
def ca(authority: certificates.Authority, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_text(authority.certificate)
    return path


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bounds of time, shorter."""
    monkeypatch.setattr(wire, "LOOKING", wire.Bounds(silence=1.0, whole=2.0))
    monkeypatch.setattr(wire, "SECONDS", 2.0)
    monkeypatch.setattr(Service.http, "__kwdefaults__", {**(Service.http.__kwdefaults__ or {}), "seconds": 2.0})
    monkeypatch.setattr(vault_wire, "SECONDS", 2.0)
    monkeypatch.setattr(client, "TRIES", 1)


@pytest.fixture
def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was before."""
    monkeypatch.setattr(wire, "LOOKING", wire.Bounds(1 << 40, 1 << 40, 3600, 3600))
    for module in (http, vault_wire):
        monkeypatch.setattr(module, "MOST", 1 << 40)
    monkeypatch.setattr(client, "TRIES", 1)


def certificate(authority: certificates.Authority, name: str, folder: Path) -> ssl.SSLContext:
    """What the real server shows, and so whoever is root on its guest."""
    issued, path = certificates.listener(authority, name), folder / "tls.pem"
    path.write_text(issued.chain + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@contextmanager
def service(
    hub: Hub, authority: certificates.Authority, ca: Path, folder: Path, name: str, manner: Manner
) -> Iterator[Ask]:
    """The reconcile.py of an instance, which looks into a hostile server."""
    instance = hub.instance(name)
    tls = certificate(authority, instance.guest.fqdn, folder)
    talk, outer = {
        "postgres": (hostile_servers.postgres(tls), None),
        "redis": (hostile_servers.valkey, tls),
        "ollama": (hostile_servers.http(), None),
    }[instance.stack.name]
    with ExitStack() as stack:
        path = folder / "server"
        tcp = instance.stack.name == "postgres"
        listener = stack.enter_context(socket.socket(socket.AF_INET if tcp else socket.AF_UNIX))
        listener.bind(("127.0.0.1", 0) if tcp else str(path))
        port = listener.getsockname()[1] if tcp else 0
        stack.enter_context(hostile_servers.served(listener, manner, talk, outer))
        road = Road(lambda: nullcontext(path), lambda: nullcontext(port))
        asked = Service(hub, instance, Passwords(), ca, road, looking=True)
        yield lambda: services.reconciler(instance.stack.name).read(asked)


@contextmanager
def store(
    hub: Hub, authority: certificates.Authority, ca: Path, folder: Path, talk: hostile_servers.Talk, manner: Manner
) -> Iterator[Ask]:
    """The client of the store, which asks a hostile one."""
    name, path = f"security.{hub.domain}", folder / "server"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        vault = Vault(path, name, ca, "a token", timeout=1)
        with hostile_servers.served(listener, manner, talk, certificate(authority, name, folder)):
            yield lambda: vault.read("hub/db/postgres/reconcile")
        vault.close()


def ended(ask: Ask) -> HubError:
    """The error that it ends with, in time."""
    began = time.monotonic()
    with pytest.raises(HubError) as told:
        ask()
    assert time.monotonic() - began < SECONDS
    assert "fault of its own" not in str(told.value)
    return told.value


@pytest.mark.parametrize("how", MANNERS)
@pytest.mark.parametrize("name", KINDS)
def test_a_service_that_goes_on_for_ever_is_an_error_of_its_own(
    hub, authority, ca, tmp_path, short, name: str, how: str
) -> None:
    manner = Manner(how)
    with service(hub, authority, ca, tmp_path, name, manner) as ask:
        assert ended(ask).where == name
    assert manner.begun
    assert manner.said * MIB < wire.LOOKING.total + 8 * MIB, "what the machine's own buffers hold is beside it"


@pytest.mark.parametrize("name", KINDS)
def test_without_its_bounds_a_client_takes_whatever_it_is_told(
    hub, authority, ca, tmp_path, unbounded, name: str
) -> None:
    """The control: this is what the attack does."""
    manner = Manner("endless")
    with service(hub, authority, ca, tmp_path, name, manner) as ask, pytest.raises(HubError):
        ask()
    assert manner.said == MOST


@pytest.mark.parametrize("how", MANNERS)
def test_a_store_that_goes_on_for_ever_is_an_error(hub, authority, ca, tmp_path, short, how: str) -> None:
    manner = Manner(how)
    with store(hub, authority, ca, tmp_path, hostile_servers.http(), manner) as ask:
        ended(ask)
    assert manner.begun
    assert manner.said * MIB < vault_wire.MOST + 8 * MIB


HEADS = {
    "a line of it": (b"HTTP/1.1 200 OK\r\nX-More: ", b"x" * 1000),
    "always another one": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_store_whose_answer_never_begins_is_an_error(hub, authority, ca, tmp_path, short, name: str) -> None:
    head, part = HEADS[name]
    talk, manner = hostile_servers.http(head, part), Manner("dripping")
    with store(hub, authority, ca, tmp_path, talk, manner) as ask:
        ended(ask)
    assert manner.begun


def test_without_its_bounds_the_store_s_client_takes_whatever_it_is_told(
    hub, authority, ca, tmp_path, unbounded
) -> None:
    manner = Manner("endless")
    with store(hub, authority, ca, tmp_path, hostile_servers.http(), manner) as ask, suppress(HubError):
        ask()
    assert manner.said == MOST
