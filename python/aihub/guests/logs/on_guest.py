"""Runs on a guest, sent over stdin: what its journal, or an instance's unit and containers say, line by line.

Standard library and ASCII only, with hidden/ beside it. The request follows the program on stdin, as JSON:
{"stack": NAME or "", "lines": N, "follow": BOOL}. The answer is one line for each that was said, after "=", and "." at
the end; it ends, too, when nobody listens any more. The values of secret files are taken out before that.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from aihub.guests.hidden.on_guest import secrets, without

PART = 64 * 1024  # bytes that are read at once
WIDTH = 2000  # bytes of a line
LOOK = 2000  # milliseconds: how often it is asked whether anybody listens
JOURNAL = ["journalctl", "--no-pager", "--quiet", "--all", "--output=short-iso"]


def commands(stack: str, lines: int, *, follow: bool) -> list[list[str]]:
    """The programs that tell it."""
    more = ["--follow"] if follow else []
    journal = [*JOURNAL, f"--lines={lines}", *more]
    if not stack:
        return [journal]
    compose = ["docker", "compose", "--project-name", stack, "logs", "--no-color", "--timestamps", f"--tail={lines}"]
    return [[*journal, f"--unit=hub-{stack}.service"], [*compose, *more]]


def started(command: list[str]) -> subprocess.Popen[bytes]:
    """A program with both its streams in one pipe."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def said(children: list[subprocess.Popen[bytes]]) -> Iterator[bytes]:
    """The lines of programs that run, as they come; ends with them, or when nobody listens."""
    poll, open_, rest = select.poll(), {}, {}
    for child in children:
        assert child.stdout is not None
        open_[child.stdout.fileno()], rest[child.stdout.fileno()] = child, b""
        poll.register(child.stdout, select.POLLIN)
    poll.register(sys.stdout, 0)  # tells by itself when its reader has gone
    while open_:
        for number, event in poll.poll(LOOK):
            if number not in open_:
                if event & (select.POLLERR | select.POLLHUP):
                    return
                continue
            part = os.read(number, PART)
            *lines, text = (rest[number] + part).split(b"\n")
            rest[number] = text[-PART:]  # of a line without an end the last of it is kept
            yield from lines
            if not part:
                poll.unregister(number)
                del open_[number]
                if text:
                    yield text


def main() -> None:
    request: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    stack, follow = request["stack"], request["follow"]
    values = secrets(stack)
    todo = commands(stack, request["lines"], follow=follow)
    for turn in [todo] if follow else [[one] for one in todo]:
        children = [started(one) for one in turn]
        try:
            for line in said(children):
                sys.stdout.buffer.write(b"=" + without(line, values)[:WIDTH] + b"\n")
                sys.stdout.buffer.flush()
        finally:
            for child in children:
                child.kill()
                child.wait()
    sys.stdout.buffer.write(b".\n")


if __name__ == "__main__":
    main()
