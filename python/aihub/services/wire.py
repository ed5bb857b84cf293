"""Connections to a service through the socket that leads to it: plain, or in TLS with a server that proves its name."""

from __future__ import annotations

import select
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aihub import words
from aihub.errors import BadAnswer, HubError, PreconditionFailed, TaskFailed, Unreachable

SECONDS = 10.0
MOST, SILENCE = 16 << 20, 8.0
"""The bytes that a server may say on one connection to a library that only looks, and the seconds without a word."""
MOST_DOING, SILENCE_DOING = 4 << 30, 300.0
"""The same while something is done: to drop a database takes a while."""
_PIECE = 1 << 16  # bytes
_WORDS = 300  # characters


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
def relayed(
    path: Path, where: str, identity: Identity | None = None, *, most: int = MOST, silence: float = SILENCE
) -> Iterator[Path]:
    """A unix socket that is spoken to plainly, and passes everything on in TLS: for libraries that can't check a name,
    and bound neither what they are told nor how long that takes. Without an identity it passes everything on as it is.

    Only this user can connect. A connection ends when the server said `most` bytes, or nothing for so many seconds that
    it was asked something. What kept a connection from the server is raised in place of the library's own error.
    """
    with ExitStack() as stack:
        near = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aihub-")), "socket")
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(near))
        listener.listen()
        relay = stack.enter_context(closing(_Relay(listener, path, where, identity, most, silence)))
        try:
            yield near
        except Exception as error:
            if relay.failure is not None:
                raise relay.failure from error
            raise


class _Relay:
    """Passes connections on, each in a thread of its own."""

    def __init__(
        self, listener: socket.socket, path: Path, where: str, identity: Identity | None, most: int, silence: float
    ) -> None:
        self.failure: HubError | None = None
        self._listener, self._path, self._where, self._identity = listener, path, where, identity
        self._most, self._silence = most, silence
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
                with connected(self._path, self._where, self._identity) as far:
                    self._copy(near, far)
            except HubError as error:
                self.failure = error
            except OSError:
                pass  # the library is told by the end of its connection

    def _copy(self, near: socket.socket, far: socket.socket) -> None:
        """Both ways at once: a side that writes before it reads must not stop the other."""
        waiting = {near: b"", far: b""}  # what each is still to be given
        left, asked = self._most, 0.0
        for link in waiting:
            link.setblocking(False)
        while not self._over.is_set():
            if left < 0:
                raise BadAnswer(f"it says more than {self._most >> 20} MiB", where=self._where)
            if asked and time.monotonic() > asked + self._silence:
                raise Unreachable(f"it says nothing for {self._silence:.0f} s", where=self._where)
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
                            asked = asked or time.monotonic()
                        else:
                            left, asked = left - len(part), 0.0
                if other in writable:
                    with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                        waiting[other] = waiting[other][other.send(waiting[other]) :]


def _rest(link: socket.socket, text: bytes) -> None:
    """What a side said before it hung up gets to the other, too."""
    link.settimeout(SECONDS)
    with suppress(OSError):
        link.sendall(text)
