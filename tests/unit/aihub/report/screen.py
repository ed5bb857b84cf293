"""What a person sees: a program on a real pseudo-terminal, its screen with everything that scrolled by."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

CODES = re.compile(r"\x1b\[(\?25[lh]|[\d;]*m|(\d*)A|2K)")
LIMIT = 30.0  # seconds for a program
PART = re.compile(r"\x1b[^a-zA-Z]*\Z")  # of a control sequence


class Screen:
    """As much of a terminal as rich uses; anything else raises."""

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._lines, self._row, self._column = [""], 0, 0

    def feed(self, text: str) -> None:
        while text:
            if text[0] == "\x1b":
                found = CODES.match(text)
                if not found:
                    raise ValueError(f"unknown control sequence: {text[:20]!r}")
                self._control(found[1], found[2])
                text = text[found.end() :]
            else:
                self._put(text[0])
                text = text[1:]

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in self._lines).rstrip()

    def _control(self, code: str, number: str | None) -> None:
        if code == "2K":
            self._lines[self._row] = ""
        elif number is not None:  # up, but never beyond what is still on the screen
            self._row = max(self._row - int(number or 1), len(self._lines) - self._height, 0)

    def _put(self, char: str) -> None:
        if char == "\r":
            self._column = 0
        elif char == "\n":
            self._down()
        else:
            if self._column == self._width:
                self._column = 0
                self._down()
            line = self._lines[self._row].ljust(self._column)
            self._lines[self._row] = line[: self._column] + char + line[self._column + 1 :]
            self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append("")


def shown(
    program: str, *, height: int = 24, width: int = 100, out: Path | None = None, typed: str = ""
) -> Sequence[str]:
    """Runs a Python program on a terminal of this size; everything that was on it after each piece of output.

    `out`: where standard output goes instead; `typed`: what is typed when the program has asked (`? `).
    """
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""}
    stdout = out.open("wb") if out else terminal
    argv = [sys.executable, "-c", program]
    child = subprocess.Popen(argv, stdin=terminal, stdout=stdout, stderr=terminal, env=environment)
    os.close(terminal)
    if out:
        stdout.close()
    screen, frames, text = Screen(height, width), [], ""
    decoder = codecs.getincrementaldecoder("utf-8")()
    end = time.monotonic() + LIMIT
    while chunk := _read(main, end - time.monotonic()):
        text += decoder.decode(chunk)
        cut = PART.search(text)
        screen.feed(text[: cut.start()] if cut else text)
        text = cut[0] if cut else ""
        frames.append(str(screen))
        if typed and str(screen).endswith("?"):
            os.write(main, typed.encode())
            typed = ""
    os.close(main)
    if time.monotonic() > end:
        child.kill()  # it waits for something
    assert child.wait() == 0, str(screen)
    return frames


def _read(terminal: int, seconds: float) -> bytes:
    """The next piece of output; none when the program has ended, or its time is over."""
    try:
        return os.read(terminal, 1 << 16) if select.select([terminal], [], [], max(0.0, seconds))[0] else b""
    except OSError:
        return b""
