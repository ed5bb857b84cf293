"""A raw keep-alive client over TLS: the floor for every client of the API, and the load for its server.

`read` sends GETs over a number of connections, each with one request in flight, and keeps when each answer came.
Nothing is parsed but status line and length. Run as a program it takes a job as JSON on standard input, and prints
what it saw.
"""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from typing import Any


@dataclass
class Seen:
    """One run: seconds per answer in the order in which they came, and what was no 200."""

    wall: float = 0.0
    cpu: float = 0.0
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.seconds) / self.wall

    def percentile(self, share: float) -> float:
        """The time within which this share of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


@dataclass(frozen=True)
class Target:
    """A server, the certificate that it must show, and the headers of every request."""

    host: str
    port: int
    certificate: str
    headers: Mapping[str, str]

    def request(self, path: str) -> bytes:
        """One GET as it goes over the wire."""
        lines = [f"GET /api2/json{path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def context(self) -> ssl.SSLContext:
        """Trusts the one certificate, whatever name it carries."""
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        found.check_hostname = False
        found.load_verify_locations(cafile=self.certificate)
        found.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return found


class _Connection(asyncio.Protocol):
    """Takes the next request as soon as the answer to the last one is whole."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.over = asyncio.get_running_loop().create_future()
        self.buffer, self.need, self.sent, self.waiting = bytearray(), -1, 0.0, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self._next()

    def _next(self) -> None:
        request = next(self.run.requests, None)
        if request is None:
            self.transport.abort()  # all is said: nobody waits for a TLS farewell
            return
        self.sent, self.waiting = time.monotonic(), True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.need < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            self.need = end + 4 + int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if b" 200 " not in head[:16]:
                self.run.seen.wrong.append(head.split(b"\r\n")[0].decode("latin-1"))
        if len(self.buffer) >= self.need:
            self.run.seen.seconds.append(time.monotonic() - self.sent)
            del self.buffer[: self.need]
            self.need, self.waiting = -1, False
            self.run.answered.set()
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiting:
            self.run.seen.wrong.append(f"connection lost: {error}")
        self.run.answered.set()
        self.over.set_result(None)


class _Run:
    """What the connections of one run share."""

    def __init__(self, target: Target, requests: Iterator[bytes]) -> None:
        self.target, self.requests, self.context = target, requests, target.context()
        self.seen, self.answered = Seen(), asyncio.Event()

    async def connect(self) -> None:
        """One connection, until there are no requests left."""
        loop = asyncio.get_running_loop()
        place = (self.target.host, self.target.port)
        _, connection = await loop.create_connection(lambda: _Connection(self), *place, ssl=self.context)
        await connection.over

    async def all(self, connections: int, first_alone: bool) -> Seen:
        """All connections; with `first_alone` the others are opened when the first request is answered."""
        opened = [asyncio.create_task(self.connect())]
        if first_alone:
            await self.answered.wait()
        opened += [asyncio.create_task(self.connect()) for _ in range(connections - 1)]
        await asyncio.gather(*opened)
        return self.seen


def read(target: Target, paths: Iterable[str], connections: int, *, first_alone: bool = False) -> Seen:
    """Every path once, dealt out to the connections as they come free."""
    made: dict[str, bytes] = {}
    requests = (made.get(path) or made.setdefault(path, target.request(path)) for path in paths)

    async def run() -> Seen:
        return await _Run(target, requests).all(connections, first_alone)

    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    seen = asyncio.run(run())
    after = resource.getrusage(resource.RUSAGE_SELF)
    seen.wall = time.monotonic() - started
    seen.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seen


def main() -> None:
    """Reads `count` of the job's paths, over and over, and prints what was seen."""
    job = json.load(sys.stdin)
    paths = islice(cycle(job["paths"]), job["count"])
    seen = read(Target(**job["target"]), paths, job["connections"], first_alone=job.get("first_alone", False))
    print(json.dumps(asdict(seen)))


if __name__ == "__main__":
    main()
