"""What clients of the databases count: logins that worked, that were refused, that met no server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cli import BIN, Cli


@dataclass(frozen=True)
class Count:
    """What one container counted since it started."""

    works: int
    refused: int
    silent: int


Counts = dict[str, Count]


def counts(hub: Cli, clients: dict[str, tuple[str, ...]]) -> Counts:
    """The counters of every client; `clients` maps a guest to its containers."""
    found = {}
    for guest, containers in clients.items():
        for container in containers:
            text = hub.on(guest, f"docker exec {container} cat /run/canary/count")
            found[f"{container}@{guest}"] = Count(*map(int, text.split()[:3]))
    return found


def failures(before: Counts, after: Counts) -> Counts:
    """The counters that went up and should not have."""
    return {who: c for who, c in after.items() if (c.refused, c.silent) != (before[who].refused, before[who].silent)}


def refusals(before: Counts, after: Counts) -> dict[str, int]:
    """How many logins were refused since, where any was."""
    return {who: c.refused - before[who].refused for who, c in after.items() if c.refused != before[who].refused}


def wait_for(what: Callable[[], bool], seconds: float, why: str) -> float:
    """How long it took."""
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < seconds, f"not within {seconds:.0f} s: {why}"
        time.sleep(0.5)
    return time.monotonic() - started


def ours_running(hub: Cli, program: str = str(BIN / "aihub")) -> list[str]:
    """Processes that were started for this lab: those of aihub, or with another text in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            mine = f"AIHUB_LAB={hub.lab}\0".encode() in (folder / "environ").read_bytes()
        except OSError:
            continue
        if mine and program.encode() in command:
            found.append(command.replace(b"\0", b" ").decode())
    return found
