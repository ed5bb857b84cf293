"""The only place that starts other programs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import capture
from .errors import TaskFailed

MOST = 256 << 20  # bytes of each stream
Result = subprocess.CompletedProcess[bytes]


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 600,
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    most: int = MOST,
) -> Result:
    """Runs a program to its end with captured output.

    `env` is added to the environment. Raises TaskFailed with the last lines of stderr when `check` is set and the
    exit code is not 0, when the time is up, when it says more than `most` bytes, or when there is no such program.
    """
    merged = {**os.environ, **env} if env else None
    name = Path(argv[0]).name
    try:
        result = capture.run(list(argv), stdin=stdin, timeout=timeout, most=most, cwd=cwd, env=merged)
    except FileNotFoundError as error:
        raise TaskFailed(f"{name} is not installed", hint="make setup") from error
    except subprocess.TimeoutExpired as error:
        raise TaskFailed(f"{name} did not end within {timeout:.0f} s") from error
    except capture.TooMuch as error:
        raise TaskFailed(f"{name} said more than {most >> 20} MiB") from error
    if check and result.returncode != 0:
        tail = "\n".join(result.stderr.decode(errors="replace").strip().splitlines()[-20:])
        raise TaskFailed(f"{name} ended with exit code {result.returncode}\n{tail}".rstrip())
    return result


def spawn(argv: Sequence[str], *, log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
    """Starts a program that goes on by itself, output to `log`; returns its pid."""
    merged = {**os.environ, **env} if env else None
    with log.open("ab") as out:
        child = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd, env=merged, start_new_session=True
        )
    return child.pid


def converse(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts a program to talk to over its pipes; the caller ends it. Raises TaskFailed when there is none."""
    try:
        return subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except FileNotFoundError as error:
        raise TaskFailed(f"{Path(argv[0]).name} is not installed", hint="make setup") from error
