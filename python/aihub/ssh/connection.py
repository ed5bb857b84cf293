"""Commands and forwards over the one ssh of `access`: OpenSSH with a shared connection per alias."""

from __future__ import annotations

import itertools
import os
import shlex
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from aihub import capture, process, words
from aihub.errors import BadAnswer, Conflict, HubError, PreconditionFailed, TaskFailed, Unreachable
from aihub.state.directory import State

from . import config

Cause = Literal["unreachable", "authentication", "host key"]
_OWN_FAILURE = 255  # ssh's exit code when not the remote command but ssh itself failed
MOST = 4 << 20  # bytes that a command may say on each stream: it runs on a machine that may be anybody's by now
_PORT_TRIES = 3  # somebody may take a free port before ssh does
_sockets = itertools.count()


def run(
    state: State,
    alias: str,
    command: Sequence[str] | str,
    *,
    stdin: bytes = b"",
    timeout: float = 120,
    check: bool = True,
    most: int = MOST,
    patience: capture.Patience | None = None,
    way: Sequence[str] = (),
) -> process.Result:
    """Runs a command on a guest or the node: a list is quoted, a text is given to the remote shell as it is.

    `way` is the start of an ssh command line to one that has no alias, with the options that lead there.
    Secrets and long scripts belong into `stdin`: a command line can be read by everyone on both machines.
    """
    text = command if isinstance(command, str) else shlex.join(command)
    try:
        ssh, *rest = way or config.argv(state, alias)
        command = [ssh, "-T", *rest, "--", text]
        result = process.run(command, stdin=stdin, timeout=timeout, check=False, most=most, patience=patience)
    except BadAnswer as error:
        raise BadAnswer(f"its answer is not to be used: {error.what}", where=alias, hint=error.hint) from error
    except TaskFailed as error:
        raise Unreachable(error.what, where=alias, hint=error.hint) from error
    if result.returncode == _OWN_FAILURE:
        raise _explain(alias, result.stderr.decode(errors="replace").strip())
    if check and result.returncode != 0:
        tail = words.last((result.stderr or result.stdout).decode(errors="replace").strip())
        name = text.split(maxsplit=1)[0]
        raise TaskFailed(f"{name} ended with exit code {result.returncode}\n{tail}", where=alias)
    return result


@contextmanager
def streamed(
    state: State, alias: str, command: Sequence[str], *, stdin: bytes, timeout: float, most: int
) -> Iterator[capture.Stream]:
    """Runs a command as `run` does, and gives its output while it comes."""
    argv = [*config.argv(state, alias, "-T"), "--", shlex.join(command)]
    try:
        with process.streamed(argv, stdin=stdin, timeout=timeout, most=most) as told:
            yield told
    except BadAnswer as error:
        raise BadAnswer(error.what, where=alias, hint=error.hint) from error
    except TaskFailed as error:
        raise Unreachable(error.what, where=alias, hint=error.hint) from error


def copy(
    state: State, alias: str, command: Sequence[str], *, source: Path | None = None, target: Path | None = None
) -> None:
    """Runs a command with its input from our file `source` or its output in our new file `target`, of any size."""
    result = process.copy([*config.argv(state, alias, "-T"), "--", shlex.join(command)], source=source, target=target)
    said = result.stderr.decode(errors="replace").strip()
    if result.returncode == _OWN_FAILURE:
        raise _explain(alias, said)
    if result.returncode != 0:
        tail = words.last(said)
        raise TaskFailed(f"{command[0]} ended with exit code {result.returncode}\n{tail}", where=alias)


@contextmanager
def forward(state: State, alias: str, remote: str) -> Iterator[Path]:
    """A unix socket of our own that leads to a remote socket (`/path`) or to `HOST:PORT` as the guest sees it."""
    local = state.control / f".{os.getpid()}-{next(_sockets)}"  # no alias begins with a dot
    if len(str(local)) > config.SOCKET_PATH_LIMIT:
        raise PreconditionFailed(f"{local}: too long for the path of a socket", where=alias)
    config.make_control(state.control)
    try:
        with _forwarded(state, alias, lambda: str(local), remote):
            yield local
    finally:
        local.unlink(missing_ok=True)


@contextmanager
def forward_tcp(state: State, alias: str, remote: str, *, prefer: int = 0) -> Iterator[int]:
    """A port on this machine's loopback that leads to `HOST:PORT` as the guest sees it; `prefer` where that is free.

    Every local user can connect to it, so only for what a socket can't serve and a login protects.
    """
    ports = itertools.chain([prefer] if prefer and _is_free(prefer) else [], iter(_free_port, None))
    with _forwarded(state, alias, lambda: f"127.0.0.1:{next(ports)}", remote, _PORT_TRIES) as local:
        yield int(local.partition(":")[2])


@contextmanager
def _forwarded(state: State, alias: str, local: Callable[[], str], remote: str, tries: int = 1) -> Iterator[str]:
    """Listens at what `local` names, which is asked anew for each try, and gives the one that it got."""
    run(state, alias, "true", timeout=30)  # brings the shared connection up, with its errors explained
    for left in reversed(range(tries)):
        listener = local()
        spec = f"{listener}:{remote}"
        if _control(state, alias, "forward", "-L", spec, check="" if left else f"forward to {remote}"):
            break
    try:
        yield listener
    finally:
        # The connection may be gone by now, and the listener with it.
        _control(state, alias, "cancel", "-L", spec)


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def close(state: State, alias: str) -> None:
    """Ends the shared connection to one alias, if there is one."""
    directory = config.control_directory(state)
    if directory and (directory / alias).exists():
        _control(state, alias, "exit")
        (directory / alias).unlink(missing_ok=True)


def close_all(state: State) -> None:
    """Ends every shared connection of this hub and target."""
    for alias in config.aliases(state):
        close(state, alias)


def _control(state: State, alias: str, order: str, *options: str, check: str = "") -> bool:
    """Gives the shared connection an order; whether it was followed. Where not, raises that `check` is lacking."""
    result = process.run(config.argv(state, alias, "-O", order, *options), check=False, timeout=30)
    if check and result.returncode != 0:
        raise _explain(alias, result.stderr.decode(errors="replace").strip(), check)
    return result.returncode == 0


def failure(cause: Cause, alias: str, told: str, lacking: str = "ssh") -> HubError:
    """The error for a connection that did not come about, or ended; `told` is what a program said of it."""
    if cause == "host key":
        return Conflict(
            "the host key is not the one we pinned, or none is pinned",
            where=alias,
            hint="find out why; then `aihub trust` for the node, or for a guest remove it and run `aihub up`",
        )
    if cause == "authentication":
        hint = "aihub trust" if alias == config.NODE else "aihub up"
        return PreconditionFailed(f"our key is not accepted: {told}", where=alias, hint=hint)
    return Unreachable(f"no {lacking}: {told}", where=alias)


def _explain(alias: str, text: str, lacking: str = "ssh") -> HubError:
    last = words.line(text.splitlines()[-1]) if text else "ssh failed without a word"
    if "Host key verification failed" in text or "HOST IDENTIFICATION HAS CHANGED" in text:
        return failure("host key", alias, last)
    return failure("authentication" if "Permission denied" in text else "unreachable", alias, last, lacking)
