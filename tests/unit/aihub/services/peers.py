"""Real servers at a unix socket, as a forward leads to them: plain or in TLS, answering what a test says."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from aihub.services.wire import Identity
from aihub.vault import certificates

DOMAIN = "small.home.arpa"
NAME = f"db.{DOMAIN}"
Answer = Callable[[socket.socket], None]


@cache
def root(hub: str) -> certificates.Authority:
    return certificates.new_root(hub, DOMAIN)


def identity(folder: Path, name: str = NAME, hub: str = "small") -> Identity:
    """What a client is told to want."""
    path = folder / f"{hub}.pem"
    path.write_text(root(hub).certificate)
    return Identity(name, path)


def tls(folder: Path, name: str = NAME, hub: str = "small") -> ssl.SSLContext:
    """What a server shows."""
    issued = certificates.listener(root(hub), name)
    path = folder / f"{name}.{hub}.server"
    path.write_text(issued.chain + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@contextmanager
def serving(folder: Path, answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[Path]:
    """A server that gives each connection, one after the other, to `answer`."""
    path = folder / "peer"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link, suppress(OSError):
                link.settimeout(5)
                if context is None:
                    answer(link)
                else:
                    with context.wrap_socket(link, server_side=True) as wrapped:
                        answer(wrapped)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield path
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
        path.unlink()


def request(link: socket.socket) -> bytes:
    """A whole HTTP request."""
    found = b""
    while b"\r\n\r\n" not in found:
        part = link.recv(65536)
        if not part:
            return b""
        found += part
    head, _, body = found.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.partition(b":")[2]):
                body += link.recv(65536)
    return head + b"\r\n\r\n" + body


def http(body: bytes, status: str = "200 OK", headers: str = "", asked: list[bytes] | None = None) -> Answer:
    """Answers every request of a connection in the same way."""

    def answer(link: socket.socket) -> None:
        while found := request(link):
            if asked is not None:
                asked.append(found)
            link.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)

    return answer
