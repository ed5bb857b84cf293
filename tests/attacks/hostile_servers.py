"""Servers in place of those on a guest that was taken: they prove its name, speak its protocol, and then never end."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

MIB = 1 << 20
MOST = 96  # MiB that one says, if anybody listens
Talk = Callable[[socket.socket, "Manner"], None]


@dataclass
class Manner:
    """How a server goes on once it is asked something: `endless`, `silent`, or `dripping` a byte now and then."""

    how: str
    over: threading.Event = field(default_factory=threading.Event)
    begun: bool = False
    said: int = 0  # MiB

    def go_on(self, link: socket.socket, part: bytes) -> None:
        """Until nobody listens any more; `part` is a MiB that the protocol allows here, again and again."""
        self.begun = True
        if self.how == "endless":
            while self.said < MOST and not self.over.is_set():
                link.sendall(part)
                self.said += 1
        elif self.how == "silent":
            self.over.wait(60)
        else:
            for place in range(len(part)):
                link.sendall(part[place : place + 1])
                if self.over.wait(0.05):
                    return


@contextmanager
def served(listener: socket.socket, manner: Manner, talk: Talk, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    """Talks with everybody who connects, each in a thread of its own."""
    threads: list[threading.Thread] = []

    def one(link: socket.socket) -> None:
        with link, suppress(OSError, ValueError):
            link.settimeout(30)
            if tls is None:
                talk(link, manner)
            else:
                with tls.wrap_socket(link, server_side=True) as wrapped:
                    talk(wrapped, manner)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=one, args=(listener.accept()[0],), daemon=True))
                threads[-1].start()

    first = threading.Thread(target=accept, daemon=True)
    listener.listen()
    first.start()
    try:
        yield
    finally:
        manner.over.set()
        listener.shutdown(socket.SHUT_RDWR)
        first.join()
        for thread in threads:
            thread.join(30)
        assert not [thread for thread in threads if thread.is_alive()]


# -- PostgreSQL


def postgres(tls: ssl.SSLContext) -> Talk:
    """Lets everybody in, and answers the first query with rows."""

    def talk(plain: socket.socket, manner: Manner) -> None:
        plain.recv(8)  # may I speak TLS?
        plain.sendall(b"S")
        with tls.wrap_socket(plain, server_side=True) as link:
            link.recv(4096)
            settings = {b"client_encoding": b"UTF8", b"server_version": b"17.0"}
            told = b"".join(_message(b"S", key + b"\0" + value + b"\0") for key, value in settings.items())
            link.sendall(_message(b"R", bytes(4)) + told + _message(b"K", bytes(8)) + _message(b"Z", b"I"))
            link.recv(65536)
            column = b"a\0" + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0)
            link.sendall(_message(b"1", b"") + _message(b"2", b"") + _message(b"T", struct.pack("!H", 1) + column))
            manner.go_on(link, _message(b"D", struct.pack("!HI", 1, MIB) + b"x" * MIB))

    return talk


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


# -- Valkey


def valkey(link: socket.socket, manner: Manner) -> None:
    """Lets everybody in, and answers the first real question with a list."""
    while True:
        asked = link.recv(65536)
        if not asked:
            return
        if b"ACL" in asked:
            link.sendall(b"*100000\r\n")
            manner.go_on(link, b"$%d\r\n%s\r\n" % (MIB, b"x" * MIB))
            return
        link.sendall({b"HELL": b"%1\r\n+proto\r\n:3\r\n", b"PING": b"+PONG\r\n"}.get(asked[8:12], b"+OK\r\n"))


# -- HTTP


def http(head: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[", part: bytes = b" " * MIB) -> Talk:
    """Answers every request with this head, and then goes on."""

    def talk(link: socket.socket, manner: Manner) -> None:
        while b"\r\n\r\n" not in link.recv(65536):
            time.sleep(0.01)
        link.sendall(head)
        manner.go_on(link, part)

    return talk
