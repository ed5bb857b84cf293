"""The only place that starts other programs, and that sees to it that none outlives us."""

from __future__ import annotations

import atexit
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from . import capture, reaper, words
from .errors import BadAnswer, TaskFailed

MOST = 256 << 20  # bytes of each stream
_SAID = 64 << 10  # bytes of what a program says beside a file that it makes
Result = subprocess.CompletedProcess[bytes]


class Child(subprocess.Popen[bytes]):
    """A program that is talked to over its pipes."""

    number = 0

    def end(self) -> None:
        """Ends it; what it left running on purpose, like an ssh that others share, goes on."""
        self.terminate()
        self.wait()
        for pipe in (self.stdin, self.stdout, self.stderr):
            with suppress(BrokenPipeError):  # what was written may never have been read
                pipe.close()  # type: ignore[union-attr]  # all three are pipes
        _watched.ended(self.number)


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float | None = 600,
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    most: int = MOST,
    lasting: bool = False,
    patience: capture.Patience | None = None,
) -> Result:
    """Runs a program to its end with captured output.

    `env` is added to the environment. A `lasting` program goes on to its own end when we are killed. A `patience` may
    end earlier than `timeout`. Raises TaskFailed with the last lines of stderr when `check` is set and the exit code is
    not 0, when the time is up, or when there is no such program, and BadAnswer when it says more than `most` bytes.
    """
    name = Path(argv[0]).name
    try:
        with environment(env, lasting=lasting) as whole:
            result = capture.run(
                list(argv), stdin=stdin, timeout=timeout, most=most, patience=patience, cwd=cwd, env=whole
            )
    except FileNotFoundError as error:
        raise TaskFailed(f"{name} is not installed", hint="make setup") from error
    except subprocess.TimeoutExpired as error:
        raise TaskFailed(f"{name} did not end within {error.timeout:.0f} s") from error
    except capture.TooMuch as error:
        raise BadAnswer(f"{name} said more than {most >> 20} MiB") from error
    if check and result.returncode != 0:
        tail = words.last(result.stderr.decode(errors="replace").strip())
        raise TaskFailed(f"{name} ended with exit code {result.returncode}\n{tail}".rstrip())
    return result


def stream(
    argv: Sequence[str], *, log: Path | None = None, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> int:
    """Runs a program to its end with its output on our own, or in the file `log`; returns its exit code.

    Several run side by side in threads. Raises TaskFailed when there is no such program.
    """
    sys.stdout.flush()  # what we said before stands before what it says
    out = log.open("wb") if log else None
    try:
        with environment(env) as whole:
            ended = subprocess.run(list(argv), cwd=cwd, env=whole, stdout=out, stderr=out, check=False)
    except FileNotFoundError as error:
        raise TaskFailed(f"{Path(argv[0]).name} is not installed", hint="make setup") from error
    finally:
        if out:
            out.close()
    return ended.returncode


@contextmanager
def streamed(argv: Sequence[str], *, stdin: bytes, timeout: float, most: int) -> Iterator[capture.Stream]:
    """Runs a program whose output is taken while it comes: at most so many bytes, for so many seconds.

    Raises BadAnswer when it says more, TaskFailed when it ends too early or too late.
    """
    name = Path(argv[0]).name
    given = os.memfd_create("stdin")
    try:
        with os.fdopen(os.dup(given), "wb") as handle:
            handle.write(stdin)
        os.lseek(given, 0, os.SEEK_SET)
        with environment() as env:
            stream = capture.Stream(list(argv), stdin=given, timeout=timeout, most=most, env=env)
            try:
                yield stream
            except EOFError as error:
                told = words.last(stream.last_words().decode(errors="replace").strip())
                raise TaskFailed(f"{name} ended with exit code {stream.close()}\n{told}".rstrip()) from error
            except subprocess.TimeoutExpired as error:
                raise TaskFailed(f"{name} did not end within {error.timeout:.0f} s") from error
            except capture.TooMuch as error:
                raise BadAnswer(f"{name} said more than {most >> 20} MiB, or a line without an end") from error
            finally:
                stream.close()
    finally:
        os.close(given)


def copy(argv: Sequence[str], *, source: Path | None = None, target: Path | None = None) -> Result:
    """Runs a program to its end, with its input from the file `source` and its output in the new file `target`.

    That file is for our eyes only, and taken away again unless the exit code is 0.
    """
    with ExitStack() as files:
        given = files.enter_context(source.open("rb")) if source else subprocess.DEVNULL
        taken: IO[bytes] | int = subprocess.DEVNULL
        if target:
            taken = files.enter_context(os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"))
        whole = False
        try:
            with environment() as env:
                ended = capture.between(list(argv), source=given, target=taken, most=_SAID, env=env)
            whole = ended.returncode == 0
        except FileNotFoundError as error:
            raise TaskFailed(f"{Path(argv[0]).name} is not installed", hint="make setup") from error
        finally:
            if target and not whole:
                target.unlink()
    return ended


def converse(argv: Sequence[str]) -> Child:
    """Starts a program to talk to over its pipes, until its `end` is called. Raises TaskFailed when there is none."""
    pipe, (number, mark) = subprocess.PIPE, _watched.begin()
    whole = {**os.environ, reaper.MARK: mark}
    try:
        child = Child(list(argv), stdin=pipe, stdout=pipe, stderr=pipe, env=whole, start_new_session=True)
    except FileNotFoundError as error:
        raise TaskFailed(f"{Path(argv[0]).name} is not installed", hint="make setup") from error
    child.number = number
    return child


@contextmanager
def environment(env: Mapping[str, str] | None = None, *, lasting: bool = False) -> Iterator[dict[str, str]]:
    """The environment of one child that does not outlive us, unless it is `lasting`; left when the child has ended.

    For libraries that start programs by themselves.
    """
    plain = {name: value for name, value in os.environ.items() if name != reaper.MARK}
    if lasting:
        yield {**plain, **(env or {})}
        return
    number, mark = _watched.begin()
    yield {**plain, **(env or {}), reaper.MARK: mark}
    _watched.ended(number)  # not after an error: what the child started may be running still


@contextmanager
def kept_by_children(lock: int) -> Iterator[None]:
    """When we are killed, this descriptor of a lock stays open until our children are dead, too."""
    _watched.keep(lock)
    try:
        yield
    finally:
        _watched.release(lock)


class _Watched:
    """Our children as the reaper knows them; it is started with the first of them."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._link: socket.socket | None = None
        self._run = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._numbers = itertools.count(1)
        self._locks: set[int] = set()

    def begin(self) -> tuple[int, str]:
        """A number for the next child, and the mark that it gets."""
        with self._turn:
            if self._link is None:
                self._start()
            number = next(self._numbers)
            self._tell(f"+{number}\n")
            return number, f"{self._run}.{number}"

    def ended(self, number: int) -> None:
        """That child has ended."""
        with self._turn:
            self._tell(f"-{number}\n")

    def keep(self, lock: int) -> None:
        """Hands a lock over, now or together with the first child."""
        with self._turn:
            self._locks.add(lock)
            self._tell("\n", lock)

    def release(self, lock: int) -> None:
        """Hands it over no more; who releases it has to unlock it, since closing it here no longer does."""
        with self._turn:
            self._locks.discard(lock)

    def close(self) -> None:
        """Lets go of our end of the socket."""
        if self._link:
            self._link.close()

    def forked(self) -> None:
        """As `close`, for a fork: it keeps the socket until it ends or becomes the program that has a mark."""
        if self._link:
            self._link.detach()

    def _start(self) -> None:
        self._link, theirs = socket.socketpair()
        silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
        with theirs:
            os.posix_spawn(  # nobody waits for it: it ends after us
                sys.executable,
                [sys.executable, "-I", "-S", reaper.__file__, self._run],
                {name: value for name, value in os.environ.items() if name != reaper.MARK},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0), *silent],
                setsid=True,
            )
        self._tell("\n", *self._locks)

    def _tell(self, line: str, *locks: int) -> None:
        if self._link:
            with suppress(OSError):  # whoever killed the reaper wants no end of our children
                socket.send_fds(self._link, [line.encode()], locks)


def _forked() -> None:
    """A fork of ours has children of its own."""
    global _watched
    _watched.forked()
    _watched = _Watched()


def _leave() -> None:
    """What still runs at our end goes with us."""
    _watched.close()


_watched = _Watched()
atexit.register(_leave)
os.register_at_fork(after_in_child=_forked)
