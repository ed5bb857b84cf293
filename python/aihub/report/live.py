"""Progress per guest and step: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from .console import BAD, CHANGED, FAINT, GOOD, NAME, err, table, text

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
        self._rows: dict[str, _Row] = {}
        self._turn = threading.Lock()
        self._started = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=8)
            self._live.start()
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
            self._live.stop()
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

    def _table(self) -> Table:
        made = table("", self._title, "", f"{self._seconds():.0f} s")
        with self._turn:
            for subject, row in self._rows.items():
                line = row.words.partition("\n")[0][:100]
                made.add_row(text(_SIGNS[row.outcome]), text((subject, NAME)), text(line), f"{row.seconds:.0f} s")
        return made


def progress(title: str) -> Progress:
    """Progress of one step, as a context manager."""
    return Progress(title)
