"""HTTPS through a unix socket that leads to the vault, its certificate verified for the server's own name.

Its guest may be anybody's by now: an answer is bounded in bytes and time, and comes as it is, since a few bytes could
unfold to any number.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import HTTPError

MOST = 16 << 20  # bytes of an answer
SECONDS = 30.0  # until it begins, and then until all of it is there
_PART = 1 << 16


def session(path: Path, ca: Path) -> requests.Session:
    """A session whose every https connection goes through the socket and trusts one authority."""
    found = requests.Session()
    found.trust_env = False  # proxies and trust stores of the environment are for the world outside
    found.verify = str(ca)
    found.headers["Accept-Encoding"] = "identity"
    found.adapters.clear()
    found.mount("https://", _adapter(path))
    return found


def _connection(path: Path) -> type[HTTPSConnection]:
    class Connection(HTTPSConnection):
        _end: socket.socket | None = None  # a second handle, since TLS takes the first one over while it shakes hands

        def _new_conn(self) -> socket.socket:
            found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            found.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
            try:
                found.connect(str(path))
            except OSError:
                found.close()
                raise
            self._end = found.dup()
            return found

        def connect(self) -> None:
            with self._in_time():
                super().connect()

        def getresponse(self) -> Any:
            with self._in_time():
                return super().getresponse()

        def close(self) -> None:
            super().close()
            if self._end:
                self._end.close()
                self._end = None

        @contextmanager
        def _in_time(self) -> Iterator[None]:
            """Ends the connection when time is up: a timeout is for each byte, and they may drip."""
            over = threading.Event()
            timer = threading.Timer(SECONDS, self._cut, [over])
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
            if over.is_set():
                raise TimeoutError(f"no answer within {SECONDS:.0f} s")  # half of a head may pass for a whole one

        def _cut(self, over: threading.Event) -> None:
            over.set()
            with suppress(OSError, AttributeError):  # it may just have been closed
                self._end.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    return Connection


def _adapter(path: Path) -> HTTPAdapter:
    class Pool(HTTPSConnectionPool):
        ConnectionCls = _connection(path)

    class Adapter(HTTPAdapter):
        def send(self, request: Any, stream: bool = False, *args: Any, **more: Any) -> requests.Response:
            answer = super().send(request, True, *args, **more)
            answer._content, answer._content_consumed = _taken(answer), True  # type: ignore[attr-defined]
            return answer

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"https": Pool}

    return Adapter()


def _taken(answer: requests.Response) -> bytes:
    """The whole of an answer. Raises ConnectionError for one that is too long, or too late."""
    end, taken = time.monotonic() + SECONDS, bytearray()
    try:
        while part := answer.raw.read1(_PART):
            taken += part
            if len(taken) > MOST:
                raise requests.ConnectionError(f"it answers more than {MOST >> 20} MiB")
            if time.monotonic() > end:
                raise requests.ConnectionError(f"no whole answer within {SECONDS:.0f} s")
    except HTTPError as error:
        answer.raw.close()
        raise requests.ConnectionError(error) from error
    except requests.ConnectionError:
        answer.raw.close()
        raise
    return bytes(taken)
