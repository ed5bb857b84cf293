"""Runs of small programs that are killed, and what they leave running."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

MOMENT = 3.0  # seconds; on a busy machine. By itself it takes some hundredths


class Runs:
    """Runs of small programs, with everything that descends from them: found by a variable of this test alone."""

    def __init__(self) -> None:
        self.entry = f"AIHUB_TEST_RUN={uuid.uuid4()}"

    def start(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        name, _, value = self.entry.partition("=")
        argv = [sys.executable, "-c", program, *arguments]
        return subprocess.Popen(argv, env={**os.environ, name: value}, stdout=subprocess.PIPE, text=True)

    def alive(self) -> dict[int, str]:
        """What runs, by pid: its command line. The reaper is no child that works."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.entry.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return {pid: line for pid, line in found.items() if "reaper.py" not in line}

    def until(self, condition: Callable[[], object], run: subprocess.Popen[str]) -> None:
        """Waits for something that a run does."""
        limit = time.monotonic() + 30
        while not condition():
            assert run.poll() is None, f"it ended with {run.returncode}"
            assert time.monotonic() < limit
            time.sleep(0.01)

    def left(self) -> dict[int, str]:
        """What still runs a moment later."""
        limit = time.monotonic() + MOMENT
        while (found := self.alive()) and time.monotonic() < limit:
            time.sleep(0.01)
        return found

    def kill(self, run: subprocess.Popen[str], number: int) -> None:
        """Kills one of them, and nothing that it started."""
        run.send_signal(number)
        run.communicate()
        assert run.returncode == -number
