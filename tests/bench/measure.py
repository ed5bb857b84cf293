"""Rounds, medians and paired ratios: variants take turns, so that a busy minute hits all of them."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Verdict = Callable[[subprocess.CompletedProcess[str]], str]


@dataclass(frozen=True)
class Sample:
    """One run: `void` says why it does not count."""

    wall: float
    cpu: float  # controller: this run's processes and all their children, user + system
    guest_cpu: float = 0.0
    void: str = ""


@dataclass(frozen=True)
class Variant:
    """One way to do a job. `verdict` returns why an outcome is not the expected one, or nothing."""

    name: str
    argv: Sequence[str]
    verdict: Verdict
    env: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    most: int = 1000  # rounds: slow peers run fewer


def ended_well(done: subprocess.CompletedProcess[str]) -> str:
    """The verdict for a program whose exit code says everything."""
    return "" if done.returncode == 0 else f"exit code {done.returncode}: {last_line(done)}"


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last thing that a program said."""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1][:200] if lines else "nothing said"


def run_once(variant: Variant, cwd: Path, guest_cpu: Callable[[], float]) -> Sample:
    """One timed run."""
    variant.before()
    guests = guest_cpu()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(
        list(variant.argv),
        cwd=cwd,
        env={**os.environ, **variant.env},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(wall, cpu, guest_cpu() - guests, variant.verdict(done))


@dataclass
class Race:
    """The samples of variants that took turns; the first round is a rehearsal and is thrown away."""

    samples: dict[str, list[Sample]]

    @classmethod
    def of(
        cls,
        variants: Sequence[Variant],
        rounds: int,
        cwd: Path,
        guest_cpu: Callable[[], float] = lambda: 0.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> Race:
        """Runs every variant once for warming up, then `rounds` times in turn."""
        found: dict[str, list[Sample]] = {variant.name: [] for variant in variants}
        for turn in range(rounds + 1):
            for variant in variants:
                if turn > variant.most:
                    continue
                sample = run_once(variant, cwd, guest_cpu)
                what = "rehearsal" if turn == 0 else f"round {turn}"
                say(f"{what}: {variant.name} {sample.wall:.2f} s {sample.void}".rstrip())
                if turn:
                    found[variant.name].append(sample)
        return cls(found)

    def good(self, name: str) -> list[Sample]:
        """The samples that count."""
        return [sample for sample in self.samples[name] if not sample.void]

    def median(self, name: str, what: str = "wall") -> float:
        """The median over rounds; NaN when no round counts."""
        return _median([getattr(sample, what) for sample in self.good(name)])

    def ratio(self, name: str, floor: str, what: str = "wall") -> float:
        """The median of the ratios inside each round, over rounds in which both count."""
        pairs = zip(self.samples[name], self.samples[floor], strict=False)
        both = [(getattr(a, what), getattr(b, what)) for a, b in pairs if not (a.void or b.void)]
        return _median([a / b for a, b in both if b])

    def rows(self, floor: str) -> list[Row]:
        """One row per variant, as the table and bench.json show it."""
        return [
            {
                "variant": name,
                "n": len(self.good(name)),
                "void": sorted({s.void for s in samples if s.void}),
                "wall": self.median(name),
                "wall_min": min((s.wall for s in self.good(name)), default=float("nan")),
                "wall_max": max((s.wall for s in self.good(name)), default=float("nan")),
                "cpu": self.median(name, "cpu"),
                "guest_cpu": self.median(name, "guest_cpu"),
                "ratio": self.ratio(name, floor),
                "cpu_ratio": self.ratio(name, floor, "cpu"),
            }
            for name, samples in self.samples.items()
        ]


@dataclass(frozen=True)
class Figure:
    """One measured number with its goal beside it; NaN never meets a goal."""

    name: str
    value: float
    unit: str
    limit: float
    most: bool = True  # the limit is the most (else the least) that is allowed

    @property
    def met(self) -> bool:
        return self.value <= self.limit if self.most else self.value >= self.limit

    @property
    def goal(self) -> str:
        return f"{'at most' if self.most else 'at least'} {self.limit:g} {self.unit}".strip()


@dataclass(frozen=True)
class Column:
    """One column of a table: its title, how wide it is, and what it says of a row."""

    title: str
    width: int
    text: Callable[[Row], str]


@dataclass(frozen=True)
class Table:
    """Rows as they are kept in bench.json, with the columns that a person sees of them."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    def lines(self) -> Iterator[str]:
        """The table as text, with a line below each row for every reason why a run of it does not count."""
        yield self.name
        yield " ".join(_aligned(column.title, column.width) for column in self.columns)
        for row in self.rows:
            yield " ".join(_aligned(column.text(row), column.width) for column in self.columns)
            yield from (f"    void: {reason}" for reason in row.get("void", ()))


@dataclass(frozen=True)
class Measured:
    """What one part of the bench found."""

    tables: Sequence[Table]
    figures: Sequence[Figure]


def _aligned(text: str, width: int) -> str:
    return text.rjust(width) if width > 0 else text.ljust(-width)


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")
