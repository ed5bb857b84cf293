"""HTTP with JSON through the socket that leads to a service; the only importer of httpx.

What a service answers is data: bounded in bytes and time, and a value comes out only in the shape that was asked for
(a dataclass, a pydantic model, a list of them). Its words get into an error without what was sent to it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from aihub.errors import TaskFailed, Unreachable

from .wire import SECONDS, Identity, failure, plain

if TYPE_CHECKING:
    import httpx

MOST = 16 << 20  # bytes of an answer
STREAM = 64 << 20  # bytes of one that comes line by line
HOURS = 12 * 3600.0  # seconds of that one
_LINE = 1 << 20  # bytes
_REFUSAL = 1 << 20  # bytes; whole, so that nothing is blotted out by half

T = TypeVar("T")


class RefusedByService(TaskFailed):
    """The service understood and said no; `status` is what HTTP calls it."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", status: int = 0) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status


class Http:
    """One service as one login sees it; for one thread.

    Raises Unreachable when no whole answer came in time, RefusedByService for a status that is no success (a redirect
    is none), TaskFailed for an answer that is too long or of another shape, and for a server that is another one.
    """

    def __init__(
        self,
        path: Path,
        where: str,
        identity: Identity | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> None:
        """`path` is the socket that leads there, `where` the instance's name, `login` a user and a password."""
        import httpx

        self._where, self._seconds, self._link = where, seconds, _Link()
        self._kept = [value for value in (*(headers or {}).values(), *(login or ())) if value]
        self._client = httpx.Client(
            base_url=f"https://{identity.name}" if identity else "http://localhost",
            transport=httpx.HTTPTransport(uds=str(path), verify=identity.context() if identity else False),
            headers={**(headers or {}), "Accept-Encoding": "identity"},  # a few bytes could unfold to any number
            auth=login,
            trust_env=False,  # proxies and trust stores of the environment are for the world outside
        )

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()
        self._link.close()

    def get(self, path: str, shape: type[T], **query: str) -> T:
        """What lies at a path."""
        return self._value("GET", path, shape, params=query)

    def find(self, path: str, shape: type[T], **query: str) -> T | None:
        """What lies at a path; None when there is nothing (404)."""
        try:
            return self.get(path, shape, **query)
        except RefusedByService as error:
            if error.status != 404:
                raise
            return None

    def ask(self, method: str, path: str, body: object, shape: type[T]) -> T:
        """Sends JSON, and gives what is answered."""
        return self._value(method, path, shape, json=body)

    def form(self, path: str, fields: Mapping[str, str], shape: type[T]) -> T:
        """Sends a form, as for a token, and gives what is answered."""
        return self._value("POST", path, shape, data=dict(fields))

    def send(self, method: str, path: str, body: object = None) -> None:
        """Sends JSON, or nothing; what is answered does not matter."""
        with self._answer(method, path, {} if body is None else {"json": body}) as parts:
            for _ in parts:
                pass

    def lines(self, method: str, path: str, body: object, shape: type[T], *, silence: float) -> Iterator[T]:
        """An answer that comes as lines of JSON, each with at most `silence` seconds before it."""
        for line in self._lines(method, path, body, silence):
            yield self._shaped(line, path, shape)

    def events(self, method: str, path: str, body: object, shape: type[T], *, silence: float) -> Iterator[T]:
        """An answer that comes as server-sent events with JSON in each, until `[DONE]`; `silence` as for lines."""
        for line in self._lines(method, path, body, silence):
            if line.startswith(b"data:") and (data := line.removeprefix(b"data:").strip()) != b"[DONE]":
                yield self._shaped(data, path, shape)

    def _lines(self, method: str, path: str, body: object, silence: float) -> Iterator[bytes]:
        with self._answer(method, path, {"json": body}, STREAM, HOURS, silence) as parts:
            rest = b""
            for part in parts:
                *whole, rest = (rest + part).split(b"\n")
                if len(rest) > _LINE:
                    raise TaskFailed(f"a line of its answer to {path} has no end", where=self._where)
                yield from filter(None, map(bytes.strip, whole))
        if rest.strip():
            yield rest.strip()

    def _value(self, method: str, path: str, shape: type[T], **sent: Any) -> T:
        with self._answer(method, path, sent) as parts:
            text = b"".join(parts)
        return self._shaped(text, path, shape)

    @contextmanager
    def _answer(
        self, method: str, path: str, sent: dict[str, Any], most: int = 0, seconds: float = 0, silence: float = 0
    ) -> Iterator[Iterator[bytes]]:
        """The parts of an answer: so many bytes, within so many seconds; by default those of a short one."""
        import httpx

        seconds = seconds or self._seconds
        options: dict[str, Any] = {"timeout": silence or seconds, "extensions": {"trace": self._link.follow}}
        end = _End(seconds, self._link)
        try:
            with self._client.stream(method, path, **options, **sent) as told:
                if not told.is_success:
                    text = f"it answered {told.status_code} to {method} {path}{self._words(told, path, sent)}"
                    raise RefusedByService(text, where=self._where, status=told.status_code)
                yield self._parts(told, path, most or MOST)
                if end.come:  # else it was whole, or was not wanted to its end
                    raise Unreachable(_late(path, seconds), where=self._where)
        except httpx.HTTPError as error:
            if end.come:
                raise Unreachable(_late(path, seconds), where=self._where) from error
            raise failure(error, self._where) from error
        finally:
            end.cancel()

    def _parts(self, told: httpx.Response, path: str, most: int) -> Iterator[bytes]:
        size = 0
        for part in told.iter_raw():
            size += len(part)
            if size > most:
                raise TaskFailed(f"its answer to {path} is longer than {most >> 20} MiB", where=self._where)
            yield part

    def _shaped(self, text: bytes, path: str, shape: type[T]) -> T:
        try:
            return TypeAdapter(shape).validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            place = plain(".".join(map(str, first["loc"])))
            what = f"its answer to {path} is another than expected: {place}: {plain(first['msg'])}"
        raise TaskFailed(what, where=self._where)

    def _words(self, told: httpx.Response, path: str, sent: Mapping[str, Any]) -> str:
        """What a refusal says, in one line; nothing of what was sent is in it."""
        text = b"".join(self._parts(told, path, _REFUSAL)).decode(errors="replace")
        for value in sorted((*self._kept, *_texts(sent)), key=len, reverse=True):
            text = text.replace(value, "***")
        return f": {plain(text)}" if text.strip() else ""


class _Link:
    """The connection that is in use, so that it can be ended from outside."""

    def __init__(self) -> None:
        self._now: socket.socket | None = None

    def follow(self, event: str, told: Mapping[str, Any]) -> None:
        """Called by httpx. A second handle is kept, since TLS takes the first one over while it shakes hands."""
        if event == "connection.connect_unix_socket.complete":
            self.close()
            self._now = told["return_value"].get_extra_info("socket").dup()

    def end(self) -> None:
        """Whoever reads or writes is at its end now."""
        if self._now:
            with suppress(OSError):
                self._now.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Lets go of it."""
        if self._now:
            self._now.close()
            self._now = None


class _End:
    """Ends a connection when its time is up, whatever drips out of it until then."""

    def __init__(self, seconds: float, link: _Link) -> None:
        self.come = False
        self._link = link
        self._timer = threading.Timer(seconds, self._now)
        self._timer.daemon = True
        self._timer.start()

    def _now(self) -> None:
        self.come = True
        self._link.end()

    def cancel(self) -> None:
        """The answer is there."""
        self._timer.cancel()


def _late(path: str, seconds: float) -> str:
    return f"no whole answer to {path} within {seconds:.0f} s"


def _texts(value: object) -> Iterator[str]:
    """Every text in what was sent that is long enough to be a secret."""
    if isinstance(value, str):
        if len(value) >= 8:
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
