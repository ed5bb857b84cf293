"""Progress per guest and step: a section of the live display on a terminal, plain lines in a log."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.table import Table

from .console import BAD, CHANGED, FAINT, GOOD, NAME, err, table, text
from .display import DISPLAY

_SIGNS = {"running": ("…", FAINT), "done": ("✔", GOOD), "failed": ("✘", BAD), "stopped": ("=", CHANGED)}


@dataclass
class _Row:
    words: str
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    outcome: str = "running"

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started


class Progress:
    """`progress(subject, text)`, then `.done(subject)` or `.failed(subject, text)`; any thread may call.

    Subjects that nobody ended are ended with the context: as done, or as stopped when it ends with an error.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = title
        self._console = console or err()
        self._live = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._rows: dict[str, _Row] = {}
        self._turn = threading.Lock()
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        if self._live:
            DISPLAY.add(self, self._console)
        else:
            self._line(self._title, "")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._turn:
            for row in self._rows.values():
                if row.outcome == "running":
                    row.outcome, row.ended = ("stopped" if error else "done"), time.monotonic()
        if self._live:
            DISPLAY.end(self)
        else:
            self._line(self._title, f"{'stopped' if error else 'done'} ({self._seconds():.1f} s)")

    def __call__(self, subject: str, words: str) -> None:
        """What is happening to a subject now."""
        with self._turn:
            known = self._rows.get(subject)
            if known and known.words == words and known.outcome == "running":
                return
            started = known.started if known else time.monotonic()
            self._rows[subject] = _Row(words, started)
        if not self._live:
            self._line(subject, words)

    def done(self, subject: str, words: str = "") -> None:
        """A subject is as it should be."""
        self._end(subject, words, "done")

    def failed(self, subject: str, words: str) -> None:
        """A subject could not be brought to where it should be."""
        self._end(subject, words, "failed")

    def _end(self, subject: str, words: str, outcome: str) -> None:
        with self._turn:
            row = self._rows.setdefault(subject, _Row(words))
            row.words, row.outcome, row.ended = words or row.words, outcome, time.monotonic()
            seconds = row.seconds
        if not self._live:
            self._line(subject, f"{'FAILED: ' if outcome == 'failed' else ''}{row.words} ({seconds:.1f} s)")

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _line(self, subject: str, words: str) -> None:
        self._console.print(text((subject, NAME), f": {words}" if words else ""), soft_wrap=True)

    def count(self) -> tuple[int, int]:
        """How many rows go on, and how many have ended."""
        with self._turn:
            running = sum(row.outcome == "running" for row in self._rows.values())
            return running, len(self._rows) - running

    def drawn(self, running: int, ended: int) -> Table:
        """The heading and the newest rows, at most so many; a line each."""
        going, gone = self._subjects(ended=False), self._subjects(ended=True)
        chosen = {*going[max(0, len(going) - running) :], *gone[max(0, len(gone) - ended) :]}
        left_out = len(going) + len(gone) - len(chosen)
        title = f"{self._title} ({left_out} more)" if left_out else self._title
        return self._table(title, chosen, one_line=True)

    def whole(self) -> Table:
        """The heading and every row."""
        return self._table(self._title, set(self._rows), one_line=False)

    def _subjects(self, *, ended: bool) -> list[str]:
        with self._turn:
            return [subject for subject, row in self._rows.items() if (row.outcome != "running") == ended]

    def _table(self, title: str, chosen: set[str], *, one_line: bool) -> Table:
        made = table("", title, "", f"{self._seconds():.0f} s")
        for column in made.columns:
            column.no_wrap = one_line
            column.overflow = "ellipsis" if one_line else "fold"
        with self._turn:
            for subject, row in self._rows.items():
                if subject in chosen:
                    line = row.words.partition("\n")[0][:100]
                    made.add_row(text(_SIGNS[row.outcome]), text((subject, NAME)), text(line), f"{row.seconds:.0f} s")
        return made


def progress(title: str) -> Progress:
    """Progress of one step, as a context manager."""
    return Progress(title)
