"""Starts the API: TLS with a certificate of its own, on any number of sockets bound beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ..backend import Backend
from . import certificate, endpoints
from .http import Server, malformed
from .pve import Gpu, NodeInfo, Pve, StorageSpec
from .web import web

__all__ = ["Gpu", "NodeInfo", "StorageSpec", "make_app", "serve"]
LOG = logging.getLogger("pvelab")
PVE_KEY: web.AppKey[Pve] = web.AppKey("pve", Pve)
HANDSHAKE = 0x16
OPTIONS: dict[str, Any] = {"access_log": None, "keepalive_timeout": 75}


class Connection(web.RequestHandler):
    """One connection; what does not parse as HTTP gets PVE's answer in place of aiohttp's."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if status == HTTPStatus.BAD_REQUEST:
            return malformed(request)
        return super().handle_error(request, status, exc, message)


def make_app(state: Path, backend: Backend, node: NodeInfo, root_password: str) -> web.Application:
    """The application with its state below `state`; it is served by `serve`."""
    pve = Pve(state, backend, node, root_password)
    endpoints.load()
    certificate.ensure(state, node.name, node.address)
    app = web.Application(client_max_size=1 << 20)
    app[PVE_KEY] = pve
    app.router.add_route("*", "/{tail:.*}", Server(pve).handle)
    return app


async def serve(app: web.Application, sockets: list[socket.socket], ready: Callable[[], None] = lambda: None) -> None:
    """Serves on bound sockets until SIGTERM or SIGINT; calls `ready` once a connection would be taken."""
    state = app[PVE_KEY].state
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate_file(state), certificate.key_file(state))
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(RuntimeError, ValueError):
            loop.add_signal_handler(number, over.set)
    for listening in sockets:
        listening.listen(128)
    ready()
    accepting = [asyncio.create_task(_accept(runner, listening, context)) for listening in sockets]
    await over.wait()
    for task in accepting:
        task.cancel()
    await runner.cleanup()


async def _accept(runner: web.AppRunner, listening: socket.socket, context: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    listening.setblocking(False)
    waiting: set[asyncio.Task[None]] = set()
    while True:
        connection, _ = await loop.sock_accept(listening)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = asyncio.create_task(_greet(runner, connection, context))
        waiting.add(task)
        task.add_done_callback(waiting.discard)


async def _greet(runner: web.AppRunner, connection: socket.socket, context: ssl.SSLContext) -> None:
    """TLS goes to the application; plain HTTP on the same port is told to come back with https."""
    loop = asyncio.get_running_loop()
    try:
        first = await asyncio.wait_for(_peek(connection), 10)
        if first == HANDSHAKE:
            manager = runner.server
            assert manager is not None
            await loop.connect_accepted_socket(
                lambda: Connection(manager, loop=loop, **OPTIONS), connection, ssl=context
            )
        elif first is not None:
            await _redirect(connection)
        else:
            connection.close()
    except (OSError, TimeoutError, ssl.SSLError):
        connection.close()


async def _peek(connection: socket.socket) -> int | None:
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    while True:
        try:
            found = connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            readable = loop.create_future()
            loop.add_reader(connection, readable.set_result, None)
            try:
                await readable
            finally:
                loop.remove_reader(connection)
            continue
        return found[0] if found else None


async def _redirect(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    request = (await asyncio.wait_for(loop.sock_recv(connection, 8192), 10)).decode("latin-1")
    words = request.split("\r\n")[0].split(" ")
    host = next((line[5:].strip() for line in request.split("\r\n") if line.lower().startswith("host:")), "")
    target = words[1] if len(words) > 1 else "/"
    status = "301 Moved Permanently" if words[0] in ("GET", "HEAD") else "308 Permanent Redirect"
    text = status[4:]
    answer = (
        f"HTTP/1.1 {status}\r\nLocation: https://{host}{target}\r\nServer: pve-api-daemon/3.0\r\n"
        f"Connection: close\r\nContent-Length: {len(text)}\r\n\r\n{text}"
    )
    await loop.sock_sendall(connection, answer.encode("latin-1"))
    connection.close()


def listen(host: str, port: int) -> socket.socket:
    """A bound TCP socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((host, port))
    return found
