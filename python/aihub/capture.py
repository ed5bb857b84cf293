"""What a program says, up to a limit, for `process`: what a guest or a tool answers may not fill our memory."""

from __future__ import annotations

import os
import select
import selectors
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, cast

_READ = 1 << 16
_LOOK = 0.5  # seconds: how often a patience that may have changed is asked

Patience = Callable[[], float]  # the seconds that are left


class TooMuch(Exception):
    """The program said more than was to be taken."""


def run(
    argv: Sequence[str],
    *,
    stdin: bytes,
    timeout: float | None,
    most: int,
    patience: Patience | None = None,
    **more: Any,
) -> subprocess.CompletedProcess[bytes]:
    """As subprocess.run with captured output, of which each stream may have `most` bytes; `more` is for Popen.

    A `patience` may end earlier than `timeout`. Raises TooMuch, and what subprocess.run raises; the program has ended
    then.
    """
    end = _End(timeout, patience)
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, **more) as child:
        try:
            out, err = _converse(child, stdin, end, most)
            _wait(child, end)
        except BaseException:
            child.kill()
            raise
    return subprocess.CompletedProcess(argv, child.returncode, out, err)


def between(
    argv: Sequence[str], *, source: IO[bytes] | int, target: IO[bytes] | int, most: int, **more: Any
) -> subprocess.CompletedProcess[bytes]:
    """Runs a program from one file to another, whatever their size; of what else it says `most` bytes are kept."""
    with subprocess.Popen(argv, stdin=source, stdout=target, stderr=subprocess.PIPE, **more) as child:
        try:
            said, err = cast(IO[bytes], child.stderr).fileno(), b""
            while part := os.read(said, _READ):
                err += part[: most - len(err)]
            child.wait()
        except BaseException:
            child.kill()
            raise
    return subprocess.CompletedProcess(argv, child.returncode, b"", err)


def _converse(child: subprocess.Popen[bytes], stdin: bytes, end: _End, most: int) -> tuple[bytes, bytes]:
    """Gives the input and takes both streams to their end."""
    giving, *taking = (cast(IO[bytes], stream) for stream in (child.stdin, child.stdout, child.stderr))
    kept, rest = {stream: bytearray() for stream in taking}, memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        selector.register(giving, selectors.EVENT_WRITE)
        for stream in taking:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(end.pause())
            end.require(child)
            for stream in (cast(IO[bytes], key.fileobj) for key, _ in ready):
                if stream is giving:
                    rest = _give(stream, rest)
                    over = not rest
                else:
                    over = _take(stream, kept[stream], most)
                if over:
                    selector.unregister(stream)
                    stream.close()
    out, err = (bytes(kept[stream]) for stream in taking)
    return out, err


def _give(stream: IO[bytes], rest: memoryview) -> memoryview:
    try:
        return rest[os.write(stream.fileno(), rest[: select.PIPE_BUF]) :]
    except BrokenPipeError:  # it needs no more
        return rest[:0]


def _take(stream: IO[bytes], kept: bytearray, most: int) -> bool:
    data = os.read(stream.fileno(), _READ)
    kept += data
    if len(kept) > most:
        raise TooMuch
    return not data


def _wait(child: subprocess.Popen[bytes], end: _End) -> None:
    """Both streams were closed: what goes on all the same has no more time than before."""
    while child.poll() is None:
        try:
            child.wait(end.pause())
        except subprocess.TimeoutExpired:
            end.require(child)


class _End:
    """When a program must have ended."""

    def __init__(self, timeout: float | None, patience: Patience | None) -> None:
        self._began = time.monotonic()
        self._timeout, self._patience = timeout, patience

    def _left(self) -> float | None:
        left = None if self._timeout is None else self._began + self._timeout - time.monotonic()
        if self._patience is None:
            return left
        return self._patience() if left is None else min(left, self._patience())

    def pause(self) -> float | None:
        """How long may be waited now; None: until something happens."""
        left = self._left()
        if left is None:
            return None
        return max(0.0, left if self._patience is None else min(left, _LOOK))

    def require(self, child: subprocess.Popen[bytes]) -> None:
        """Raises TimeoutExpired when the time is up."""
        left = self._left()
        if left is not None and left <= 0:
            raise subprocess.TimeoutExpired(child.args, time.monotonic() - self._began)
