"""Finds the case files, reads what they expect, and keeps the world away while they load."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aihub.errors import InvalidInput, Problem
from aihub.model.target import Word
from aihub.reading import load

CASES = Path(__file__).parents[2] / "cases"
STACKS = CASES / "stacks"
_EXPECT = re.compile(r"^\ufeff?# expect: (\d+):(\d+) (.+)$", re.MULTILINE)
CONTACT = ("socket.", "subprocess.", "urllib.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.")
"""What Python's own audit calls everything that leaves this process."""
_watching = False
_contacts: list[str] = []
_TARGET = re.compile(r"^# target: (\w+)$", re.MULTILINE)


def files(kind: str, verdict: str) -> list[Path]:
    """The case files of `hub` or `stack` that are `valid` or `invalid`."""
    return sorted((CASES / kind / verdict).glob("*.yml"))


def text(path: Path) -> str:
    """A case's text, whatever its bytes."""
    return path.read_bytes().decode(errors="replace")


def expected(path: Path) -> list[tuple[int, int, str]]:
    """Line, column and a part of the message of every problem that a case promises."""
    return [(int(line), int(column), part.rstrip("\r")) for line, column, part in _EXPECT.findall(text(path))]


def target(path: Path) -> Word:
    """Where the case's hub is to be built."""
    found = _TARGET.search(text(path))
    return "pve" if found and found[1] == "pve" else "lab"


def hub_problems(path: Path, where: Word = "lab") -> tuple[Problem, ...]:
    """What the loader says about a hub file, with sockets and programs out of reach."""
    with no_contact():
        return load.validate(path, STACKS, target=where).problems


def stack_problems(path: Path, scratch: Path) -> tuple[Problem, ...]:
    """What the loader says about a stack manifest."""
    folder = scratch / "thing"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(path, folder / "stack.yml")
    with no_contact():
        try:
            load.stack("thing", scratch)
        except InvalidInput as error:
            return tuple(error.problems)
    return ()


@contextmanager
def no_contact() -> Iterator[None]:
    """Opening a socket, asking for a name or starting a program fails, whoever does it and however it was imported."""
    global _watching
    _contacts.clear()
    _watching = True
    try:
        yield
    finally:
        _watching = False
    assert _contacts == [], f"something was contacted: {_contacts}"


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event.startswith(CONTACT):
        _contacts.append(f"{event} {arguments!r}"[:200])
        raise AssertionError(f"something was contacted: {event}")


sys.addaudithook(_audit)
