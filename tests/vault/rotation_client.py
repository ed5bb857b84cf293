"""A process that runs rotations in children of its own, for tests that kill them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .rotation_world import World

ROOT = Path(__file__).parents[2]
FIRST = 2  # the first write of a run is its login at the vault


class Driver:
    """A process that forks runs."""

    def __init__(self, world: World) -> None:
        argv = [sys.executable, "-m", world.driver, json.dumps(asdict(world.facts))]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)

    def send(self, *names: str, **order: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"names": names, **order}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert found.get("code") != 99, found["error"]
        return found

    def run(self, *names: str, **order: Any) -> dict[str, Any]:
        """A rotation of these; without names an earlier one is finished."""
        self.send(*names, **order)
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


@contextmanager
def driven(world: World) -> Iterator[Driver]:
    driver = Driver(world)
    try:
        yield driver
    finally:
        driver.close()


def kill(world: World, driver: Driver, name: str, where: str, weakening: str = "") -> tuple[bool, list[str]]:
    """One run that dies, one that finishes; what was wrong at any moment."""
    world.passwords(name)
    dead = driver.run(name, crash=where, weak=weakening)
    wrong = world.alive(name)
    after = driver.run(weak=weakening)
    if after["error"]:
        wrong.append(f"the next run ended with {after['error']}")
    return dead["killed"], [f"{where}: {problem}" for problem in [*wrong, *world.problems(name)]]


def everywhere(driver: Driver, name: str, places: Sequence[str] = ("before", "inside", "after")) -> Sequence[str]:
    """Every place where a rotation of this pair can die."""
    whole = driver.run(name)
    assert not whole["error"] and whole["done"] == [name]
    return [f"{n}:{where}" for n in range(FIRST, whole["count"] + 1) for where in places]
