"""The only place of the lab that starts other programs and looks at running ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .credentials import environment
from .errors import LabError

Result = subprocess.CompletedProcess[bytes]
_START = time.monotonic()


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 600,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Runs a program to its end with captured output; raises LabError with the end of its stderr.

    It sees nothing of this process' environment but what `credentials.environment` lets through.
    """
    name = Path(argv[0]).name
    merged = {**environment(), **(env or {})}
    try:
        result = subprocess.run(list(argv), input=stdin, capture_output=True, timeout=timeout, env=merged, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{name} is not installed", hint=f"install the Debian package that holds {name}") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(argv[:6])}` did not end within {timeout:.0f} s") from error
    if check and result.returncode != 0:
        raise LabError(f"`{' '.join(argv[:6])}` ended with exit code {result.returncode}: {tail(result.stderr)}")
    return result


def text(argv: Sequence[str], **options: float) -> str:
    """What a program writes to stdout, without the last newline."""
    return run(argv, **options).stdout.decode(errors="replace").rstrip("\n")  # type: ignore[arg-type]


def through(argv: Sequence[str], *, quiet: bool = False) -> int:
    """Runs a program with this process' own stdin, stdout and stderr; returns its exit code.

    `quiet` keeps stdout for this process' own answer: what the program writes there goes to stderr, too.
    """
    out = sys.stderr if quiet else None
    return subprocess.run(list(argv), stdout=out, env=environment(), check=False).returncode


def pipe(source: Sequence[str], sink: Sequence[str], *, cwd: Path | None = None) -> None:
    """Runs `source | sink`, both in the directory `cwd`, and raises LabError when either fails."""
    clean = environment()
    with subprocess.Popen(list(source), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=clean) as first:
        second = subprocess.run(list(sink), stdin=first.stdout, capture_output=True, check=False, cwd=cwd, env=clean)
        _close(first.stdout)
        said = first.stderr.read() if first.stderr else b""
    if second.returncode != 0:
        raise LabError(f"`{' '.join(sink[:6])}` failed: {tail(second.stderr)}")
    if first.returncode != 0:
        raise LabError(f"`{' '.join(source[:6])}` failed: {tail(said)}")


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        stream.close()


def spawn(
    argv: Sequence[str], *, log: Path, keep: Sequence[int] = (), env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a program that outlives this one, output appended to `log`, descriptors `keep` inherited."""
    merged = {**environment(), **(env or {})}
    with log.open("ab") as out:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=tuple(keep),
            env=merged,
            cwd="/",
            start_new_session=True,
        )


def tail(output: bytes, lines: int = 12) -> str:
    """The last lines of a program's output."""
    return "\n".join(output.decode(errors="replace").strip().splitlines()[-lines:])


def say(subject: str, words: str) -> None:
    """Writes one line of progress to stderr, with the seconds since this program began."""
    sys.stderr.write(f"{time.monotonic() - _START:6.1f} s  {subject}: {words}\n")
    sys.stderr.flush()


def wait_for(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Waits until `condition` holds; False when the time is up."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def start_time(pid: int) -> str | None:
    """When a process began, in clock ticks since boot: with the pid it names a process for good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


@dataclass(frozen=True)
class Process:
    """One process for good: a pid alone may be somebody else's by the time that it is used."""

    pid: int
    began: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now."""
        began = start_time(pid)
        return cls(pid, began) if began else None

    @property
    def runs(self) -> bool:
        """True until it ended."""
        return start_time(self.pid) == self.began

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to this very process, and to none when it has ended."""
        try:
            held = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.runs:  # what is held is it
                signal.pidfd_send_signal(held, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(held)


def listed(belongs: Callable[[Path], bool]) -> list[Process]:
    """All processes whose folder in /proc `belongs`: looked at between two looks at when they began."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (one := Process.of(int(path.name))):
            try:
                ours = belongs(path)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if ours and one.runs:
                found.append(one)
    return found


def remember(file: Path, pid: int) -> None:
    """Writes pid and start time of a process to a file."""
    file.write_text(f"{pid} {start_time(pid)}\n")


def remembered(file: Path) -> Process | None:
    """The process in a file written by `remember`, if it still runs."""
    try:
        pid, _, began = file.read_text().strip().partition(" ")
    except FileNotFoundError:
        return None
    found = Process(int(pid), began) if pid.isdigit() else None
    return found if found and found.runs else None


def end(process: Process | None, patience: float = 5.0) -> None:
    """Ends a process by SIGTERM, and by SIGKILL when that was not enough."""
    if process is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.signal(number)
        if wait_for(lambda: not process.runs, patience):
            return
    raise LabError(f"process {process.pid} does not end", hint=f"look at /proc/{process.pid}/status")
