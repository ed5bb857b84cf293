"""The one live region of a terminal: what goes on is drawn at its end, everything else appears above it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live


class Section(Protocol):
    """A heading and rows, of which some go on and the others have ended."""

    def count(self) -> tuple[int, int]:
        """How many rows go on, and how many have ended."""

    def drawn(self, running: int, ended: int) -> RenderableType:
        """The heading and the newest rows, at most so many; a line each."""

    def whole(self) -> RenderableType:
        """The heading and every row."""


class Display:
    """The open sections in the order in which they were opened; an ended one is printed above them and stays."""

    def __init__(self) -> None:
        self._sections: list[Section] = []
        self._console: Console | None = None
        self._live: Live | None = None
        self._turn = threading.RLock()

    @property
    def console(self) -> Console | None:
        """What is printed to this console appears above what is drawn; None while no section is open."""
        return self._console

    def add(self, section: Section, console: Console) -> None:
        """Draws a section until it ends: on this console, or where the others are."""
        with self._turn:
            self._console = self._console or console
            self._sections.append(section)
            self._show()

    def end(self, section: Section) -> None:
        """Prints a section for good."""
        with self._turn, self.aside():
            self._sections.remove(section)
            if self._console:
                self._console.print(section.whole())
            if not self._sections:
                self._console = None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Nothing is drawn while somebody else writes to the terminal, or asks a question there."""
        with self._turn:
            if self._live:
                self._live.stop()
                self._live = None
            try:
                yield
            finally:
                self._show()

    def _show(self) -> None:
        if self._console and self._live is None:
            # On a terminal both streams are redirected to this console; what goes into a file is left alone.
            self._live = Live(
                self,
                console=self._console,
                transient=True,
                refresh_per_second=8,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start(refresh=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The sections, cut to the screen: what has left it cannot be erased. Rows that go on come first."""
        sections = list(self._sections)
        going, gone = zip(*(section.count() for section in sections), strict=True) if sections else ((), ())
        room = console.size.height - 1 - len(sections)
        running = _shares(going, room)
        ended = _shares(gone, room - sum(running))
        for section, *shares in zip(sections, running, ended, strict=True):
            yield section.drawn(*shares)


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Room for the first in full, then for the next, until none is left."""
    shares: list[int] = []
    for number in wanted:
        shares.append(max(0, min(number, room - sum(shares))))
    return shares


DISPLAY = Display()
