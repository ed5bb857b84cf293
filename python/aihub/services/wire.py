"""Connections to a service through the socket that leads to it: plain, or in TLS with a server that proves its name."""

from __future__ import annotations

import select
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aihub import words
from aihub.errors import BadAnswer, HubError, PreconditionFailed, TaskFailed, Unreachable

SECONDS = 10.0
_PIECE = 1 << 16  # bytes
_WORDS = 300  # characters
_Far = Callable[[], AbstractContextManager[socket.socket]]  # connects to the server


@dataclass(frozen=True)
class Bounds:
    """How much a server may say on one connection to a library that bounds nothing itself, and how slowly.

    Each question of ours begins a new answer, which has so many bytes, so many seconds until it is whole, and so many
    until it begins. Nobody here knows when it is whole: so a connection on which nothing is asked any more ends, too.
    """

    total: int = 16 << 20  # bytes of all answers
    answer: int = 16 << 20
    whole: float = 20.0
    silence: float = 8.0


LOOKING = Bounds()
DOING = Bounds(total=4 << 30, whole=3600.0, silence=300.0)
"""While something is done: to drop a database takes a while, to find the keys of a consumer many answers."""


@dataclass(frozen=True)
class Identity:
    """Who a server must prove to be: this name, in a certificate that comes from this authority."""

    name: str
    ca: Path

    def context(self) -> ssl.SSLContext:
        """TLS that trusts nobody else. Raises PreconditionFailed where the authority is not here."""
        if not self.ca.is_file():
            raise PreconditionFailed("the hub's root certificate is not here", where=str(self.ca), hint="aihub up")
        return ssl.create_default_context(cafile=str(self.ca))


@contextmanager
def connected(
    path: Path, where: str, identity: Identity | None = None, seconds: float = SECONDS
) -> Iterator[socket.socket]:
    """A connection through a unix socket; in TLS where there is an identity to prove.

    Raises Unreachable when nothing answers, TaskFailed for a server that is another one.
    """
    with ExitStack() as stack:
        link = stack.enter_context(socket.socket(socket.AF_UNIX))
        try:
            link.settimeout(seconds)
            link.connect(str(path))
            if identity:
                link = stack.enter_context(identity.context().wrap_socket(link, server_hostname=identity.name))
        except OSError as error:
            raise failure(error, where) from error
        yield link


def failure(error: BaseException, where: str) -> HubError:
    """The error for a connection that did not come about, or ended."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            text = f"what answers there has no certificate of this hub for its name: {cause.verify_message}"
            return TaskFailed(text, where=where, hint="find out what answers there; then aihub up")
        cause = cause.__cause__ or cause.__context__
    return Unreachable(f"it does not answer: {plain(str(error))}", where=where)


def plain(text: str) -> str:
    """A service's words in one short line, without control characters."""
    return words.line(text, _WORDS)


@contextmanager
def relayed(path: Path, where: str, identity: Identity | None = None, bounds: Bounds = LOOKING) -> Iterator[Path]:
    """A unix socket that is spoken to plainly, and passes everything on in TLS: for libraries that can't check a name,
    and bound neither what they are told nor how long that takes. Without an identity it passes everything on as it is.

    Only this user can connect. A connection ends when the server is out of bounds. What ended it, or kept it from the
    server, is raised in place of the library's own error.
    """
    with ExitStack() as stack:
        near = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aihub-")), "socket")
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(near))
        stack.enter_context(_relaying(listener, lambda: connected(path, where, identity), where, bounds))
        yield near


@contextmanager
def relayed_port(port: int, where: str, bounds: Bounds = LOOKING) -> Iterator[int]:
    """A port of the loopback that passes everything on to another one, bounded as `relayed`: for libraries that check
    the server's name themselves and take a host and a port only.

    Every local user can connect to it, as to the other one.
    """

    @contextmanager
    def far() -> Iterator[socket.socket]:
        try:
            link = socket.create_connection(("127.0.0.1", port), SECONDS)
        except OSError as error:
            raise failure(error, where) from error
        with link:
            yield link

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with _relaying(listener, far, where, bounds):
            yield int(listener.getsockname()[1])


@contextmanager
def _relaying(listener: socket.socket, far: _Far, where: str, bounds: Bounds) -> Iterator[None]:
    """Passes on what connects to the listener."""
    listener.listen()
    with closing(_Relay(listener, far, where, bounds)) as relay:
        try:
            yield
        except Exception as error:
            if relay.failure is not None:
                raise relay.failure from error
            raise


class _Relay:
    """Passes connections on, each in a thread of its own."""

    def __init__(self, listener: socket.socket, far: _Far, where: str, bounds: Bounds) -> None:
        self.failure: HubError | None = None
        self._listener, self._far, self._where, self._bounds = listener, far, where, bounds
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Ends every connection."""
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._pass_on, args=(near,), daemon=True))
            self._threads[-1].start()

    def _pass_on(self, near: socket.socket) -> None:
        with near:
            near.settimeout(SECONDS)
            try:
                with self._far() as far:
                    self._copy(near, far)
            except HubError as error:
                self.failure = error
            except OSError:
                pass  # the library is told by the end of its connection

    def _copy(self, near: socket.socket, far: socket.socket) -> None:
        """Both ways at once: a side that writes before it reads must not stop the other."""
        waiting = {near: b"", far: b""}  # what each is still to be given
        answered = _Answered(self._bounds, self._where)
        for link in waiting:
            link.setblocking(False)
            if link.family == socket.AF_INET:
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # it was a small word on the other side, too
        while not self._over.is_set():
            answered.check()
            held = isinstance(far, ssl.SSLSocket) and far.pending()  # decrypted already, so that select won't tell
            hungry = [one for one, other in ((near, far), (far, near)) if len(waiting[other]) < _PIECE]
            full = [one for one, rest in waiting.items() if rest]
            readable, writable, _ = select.select(hungry, full, [], 0 if held else 0.1)
            for one, other in ((near, far), (far, near)):
                if one in hungry and (one in readable or (held and one is far)):
                    with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                        part = one.recv(_PIECE)
                        if not part:
                            _rest(other, waiting[other])
                            return
                        waiting[other] += part
                        if one is near:
                            answered.asked()
                        else:
                            answered.said(len(part))
                if other in writable:
                    with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                        waiting[other] = waiting[other][other.send(waiting[other]) :]


class _Answered:
    """What a server said on a connection, and when."""

    def __init__(self, bounds: Bounds, where: str) -> None:
        self._bounds, self._where = bounds, where
        self._total = self._answer = 0
        self._began = self._waiting = 0.0  # since when; 0: nothing is waited for

    def asked(self) -> None:
        """A new answer begins; of one that has not come yet, the time goes on."""
        self._waiting = self._waiting or time.monotonic()
        self._answer, self._began = 0, time.monotonic()

    def said(self, size: int) -> None:
        """A part of it came."""
        self._total, self._answer, self._waiting = self._total + size, self._answer + size, 0.0

    def check(self) -> None:
        """Raises BadAnswer for one that is too long, Unreachable for one that does not come."""
        for size, most in ((self._total, self._bounds.total), (self._answer, self._bounds.answer)):
            if size > most:
                raise BadAnswer(f"it says more than {most >> 20} MiB", where=self._where)
        if self._waiting and time.monotonic() > self._waiting + self._bounds.silence:
            raise Unreachable(f"it says nothing for {self._bounds.silence:.0f} s", where=self._where)
        if self._began and time.monotonic() > self._began + self._bounds.whole:
            raise Unreachable(f"no whole answer within {self._bounds.whole:.0f} s", where=self._where)


def _rest(link: socket.socket, text: bytes) -> None:
    """What a side said before it hung up gets to the other, too."""
    link.settimeout(SECONDS)
    with suppress(OSError):
        link.sendall(text)
