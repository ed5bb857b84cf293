"""The two consoles, and how foreign text gets onto them: never as markup, never with control characters."""

from __future__ import annotations

import getpass
import json
import sys
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from aihub import words

from .display import DISPLAY

WIDTH_OF_LOGS = 120

GOOD, CHANGED, BAD, FAINT, NAME = "green", "yellow", "bold red", "dim", "bold"


def out() -> Console:
    """Standard output."""
    return _console(stderr=False)


def err() -> Console:
    """Standard error."""
    return _console(stderr=True)


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty() and DISPLAY.console:
        return DISPLAY.console  # another one would write into what is drawn
    width = None if stream.isatty() else WIDTH_OF_LOGS
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def clean(value: object) -> str:
    """A text without control characters: a guest's name or a log line must not steer the terminal."""
    return "".join("\ufffd" if words.steers(c) and c != "\n" else c for c in str(value))


def text(*parts: str | tuple[object, str]) -> Text:
    """A line of cleaned parts, each plain or with a style."""
    line = Text()
    for part in parts:
        value, style = part if isinstance(part, tuple) else (part, "")
        line.append(clean(value), Style.parse(style) if style else None)
    return line


def line(*parts: str | tuple[object, str]) -> Text:
    """As `text`, on one line: what somebody else named may hold the next one."""
    flat = (
        (str(one[0]).replace("\n", " "), one[1]) if isinstance(one, tuple) else one.replace("\n", " ") for one in parts
    )
    return text(*flat)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table in the one look that all tables have."""
    made = Table(box=None, pad_edge=False, header_style=FAINT, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def say(line: str) -> None:
    """One plain line on standard error."""
    err().print(text(line))


def as_json(value: Any) -> None:
    """One JSON document on standard output, nothing else."""
    with DISPLAY.aside():
        sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def confirm(question: str) -> bool:
    """Asks a person; without a terminal the answer is no."""
    return ask(f"{question} [y/N] ").lower() in ("y", "yes")


def ask(question: str) -> str:
    """What a person types; empty without a terminal."""
    if not sys.stdin.isatty():
        return ""
    with DISPLAY.aside():
        sys.stderr.write(clean(question))
        sys.stderr.flush()
        return sys.stdin.readline().strip()


def ask_secret(question: str) -> str:
    """What a person types, unseen; empty without a terminal."""
    with DISPLAY.aside():
        return getpass.getpass(clean(question)).strip() if sys.stdin.isatty() else ""
