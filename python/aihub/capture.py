"""What a program says, up to a limit, for `process`: what a guest or a tool answers may not fill our memory."""

from __future__ import annotations

import contextlib
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


class Stream:
    """What a program says while it says it: so many bytes at most, for so long."""

    def __init__(self, argv: Sequence[str], *, stdin: int, timeout: float, most: int, **more: Any) -> None:
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(argv, stdin=stdin, stdout=pipe, stderr=pipe, **more)
        self.said = bytearray()  # the beginning of what it said on standard error
        self._end, self._left = _End(timeout, None), most
        self._have = bytearray()
        self._selector = selectors.DefaultSelector()
        self._out, self._err = cast(IO[bytes], self.child.stdout), cast(IO[bytes], self.child.stderr)
        for stream in (self._out, self._err):
            self._selector.register(stream, selectors.EVENT_READ)

    def read(self, size: int) -> bytes:
        """So many bytes. Raises EOFError when it ended before, TooMuch and TimeoutExpired."""
        while len(self._have) < size:
            self._more()
        found = bytes(self._have[:size])
        del self._have[:size]
        return found

    def line(self, most: int) -> bytes:
        """The next line without its end, which is not longer than `most`. Raises as `read`."""
        while (at := self._have.find(b"\n")) < 0:
            if len(self._have) > most:
                raise TooMuch
            self._more()
        if at > most:
            raise TooMuch
        return self.read(at + 1)[:-1]

    def _more(self) -> None:
        if self._out not in (key.fileobj for key in self._selector.get_map().values()):
            raise EOFError
        for key, _ in self._selector.select(self._end.pause()):
            stream = cast(IO[bytes], key.fileobj)
            data = os.read(stream.fileno(), _READ)
            if not data:
                self._selector.unregister(stream)
            elif stream is self._err:
                self.said += data[: _READ - len(self.said)]
            else:
                self._have += data
            self._left -= len(data)
        self._end.require(self.child)
        if self._left < 0:
            raise TooMuch

    def last_words(self) -> bytes:
        """What it still says on standard error, when its output is at its end."""
        while self._err in (key.fileobj for key in self._selector.get_map().values()):
            ready = self._selector.select(_LOOK)
            data = os.read(self._err.fileno(), _READ) if ready else b""
            self.said += data[: max(0, _READ - len(self.said))]
            if not data:
                break
        return bytes(self.said)

    def close(self) -> int:
        """It has ended, by itself or not; its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(_LOOK)
        self.child.kill()
        code = self.child.wait()
        self._selector.close()
        self._out.close()
        self._err.close()
        return code


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
