"""The raw client of `make bench`: it sends each path once, over as many connections as it says."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
from pvelab.api import certificate

HEADERS = {"Authorization": "PVEAPIToken=a@pve!b=c"}


class Peer:
    """A TLS server that counts connections and requests; it answers /wrong with a 403 and hangs up on /lost."""

    def __init__(self, state: Path) -> None:
        certificate.ensure(state, "pve", "127.0.0.1")
        self.certificate = certificate.certificate_file(state)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, certificate.key_file(state))
        self.serving: set[asyncio.Task[None]] = set()
        self.clear()

    def clear(self) -> None:
        self.paths: list[str] = []
        self.heads: list[str] = []
        self.connections: list[int] = []  # how many requests had been answered when it came

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(len(self.paths))
        if task := asyncio.current_task():
            self.serving.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                path = head.split()[1]
                if path.endswith("/lost"):
                    break
                await asyncio.sleep(0.002)
                self.paths.append(path)
                self.heads.append(head)
                body = b"x" * (70_000 if path.endswith("/large") else 3)
                status = b"403 Permission check failed" if path.endswith("/wrong") else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    found, ready, loop = Peer(tmp_path_factory.mktemp("peer")), threading.Event(), asyncio.new_event_loop()

    async def run() -> None:
        server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=found.context)
        found.port = server.sockets[0].getsockname()[1]
        found.over = asyncio.Event()
        ready.set()
        await found.over.wait()
        server.close()
        await server.wait_closed()
        if found.serving:  # a connection that outlives its loop is a warning in another test
            await asyncio.wait(found.serving, timeout=5)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert ready.wait(10)
    yield found
    loop.call_soon_threadsafe(found.over.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def read(bench: Callable[[str], ModuleType], peer: Peer) -> Callable[..., object]:
    keepalive = bench("keepalive")
    target = keepalive.Target("127.0.0.1", peer.port, str(peer.certificate), HEADERS)
    peer.clear()
    return lambda paths, connections, **more: keepalive.read(target, paths, connections, **more)


def test_every_path_is_asked_once(read: Callable[..., object], peer: Peer) -> None:
    wanted = [f"/{n}" for n in range(40)] + ["/large"]
    seen = read(wanted, 4)
    assert sorted(peer.paths) == sorted(f"/api2/json{path}" for path in wanted)
    assert len(peer.connections) == 4
    assert (len(seen.seconds), seen.wrong) == (41, [])
    assert all(f"Authorization: {HEADERS['Authorization']}\r\n" in head for head in peer.heads)
    assert 0 < seen.percentile(0.5) <= seen.percentile(0.95) <= seen.wall
    assert seen.per_second == pytest.approx(41 / seen.wall)


def test_the_others_wait_for_the_first_answer(read: Callable[..., object], peer: Peer) -> None:
    read(["/list", *(f"/{n}" for n in range(20))], 4, first_alone=True)
    assert peer.paths[0] == "/api2/json/list"
    assert peer.connections[0] == 0
    assert min(peer.connections[1:]) >= 1


def test_what_is_no_200_is_told(read: Callable[..., object]) -> None:
    assert read(["/a", "/wrong"], 1).wrong == ["http/1.1 403 permission check failed"]


def test_a_lost_connection_is_told(read: Callable[..., object]) -> None:
    seen = read(["/a", "/lost", "/b"], 1)
    assert len(seen.seconds) == 1
    assert seen.wrong == ["connection lost: None"]
