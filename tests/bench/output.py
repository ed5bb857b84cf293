"""What a person sees of the bench, and what is kept of it: tables, figures with their goals, build/bench.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import Column, Figure, Row, Table

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
FAULTS = BUILD / "faults.json"


def build() -> Path:
    """The folder of what is measured and of what that needs; a fresh clone has none yet."""
    BUILD.mkdir(exist_ok=True)
    return BUILD


def say(line: str) -> None:
    """Where we are, on standard error."""
    print(f"  {line}", file=sys.stderr, flush=True)


def variants_table(name: str, rows: Sequence[Row]) -> Table:
    """A race of variants."""
    return Table(
        name,
        [
            Column("variant", -44, lambda row: row["variant"]),
            Column("n", 2, lambda row: str(row["n"])),
            Column("wall s (min-max)", 22, lambda r: f"{r['wall']:.2f} ({r['wall_min']:.2f}-{r['wall_max']:.2f})"),
            Column("ctl cpu", 8, lambda row: f"{row['cpu']:.2f}"),
            Column("guests", 7, lambda row: f"{row['guest_cpu']:.2f}"),
            Column("ratio", 7, lambda row: f"{row['ratio']:.1f}x"),
            Column("cpu", 6, lambda row: f"{row['cpu_ratio']:.1f}x"),
        ],
        rows,
    )


def show(tables: Sequence[Table]) -> None:
    """Tables of one part."""
    for table in tables:
        print()
        for line in table.lines():
            print(line.rstrip())


def show_figures(figures: Sequence[Figure]) -> None:
    """Every figure with its goal."""
    print()
    for figure in figures:
        verdict = "PASS" if figure.met else "FAIL"
        print(f"{verdict}  {figure.name}: {figure.value:.2f} {figure.unit}".rstrip() + f"  ({figure.goal})")


def faults() -> list[Row] | None:
    """What the last `make test` tried against an apply, and what of it was survived; None when it was not run."""
    return list(json.loads(FAULTS.read_text())) if FAULTS.exists() else None


def show_faults(rows: Sequence[Row] | None) -> None:
    """Kills and faults: tried, survived, and by which weakened variant each was seen to matter."""
    if rows is None:
        print("\nkills and faults\nnot run: make test writes it")
        return
    columns = [
        Column("kill or fault", -64, lambda row: row["fault"]),
        Column("tried", 6, lambda row: str(row["tried"])),
        Column("survived", 8, lambda row: str(row["survived"])),
        Column("seen to break a weakened variant", 33, lambda row: "yes" if row["weakened"] else "no"),
    ]
    tried, survived = (sum(int(row[key]) for row in rows) for key in ("tried", "survived"))
    show([Table("kills and faults", columns, rows)])
    print(f"{'together'.ljust(64)} {tried:>6} {survived:>8}")


def fault_figures(rows: Sequence[Row] | None) -> list[Figure]:
    """The goals of the kills and faults: all of them survived, and each seen to matter; none when they were not run."""
    if rows is None:
        return []
    lost = sum(int(row["tried"]) - int(row["survived"]) for row in rows)
    unseen = sum(not row["weakened"] for row in rows)
    return [
        Figure("kills and faults that were not survived", lost, "", 0),
        Figure("kinds of them that no weakened variant was seen to break at", unseen, "", 0),
    ]


def write(document: dict[str, Any]) -> str:
    """build/bench.json with where and when it was measured."""
    whole = {"measured": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), **document}
    path = build() / "bench.json"
    text = json.dumps(whole, indent=2) + "\n"
    path.write_text(text)
    print(f"\n{path.relative_to(ROOT)} written")
    return text


def plain(figure: Figure) -> dict[str, Any]:
    """A figure as bench.json keeps it."""
    return {**asdict(figure), "goal": figure.goal, "met": figure.met}


def machine() -> dict[str, object]:
    """What it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    packages = ("ansible-core", "pytest", "pytest-testinfra", "pyinfra", "rich", "typer")
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr.strip()
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ssh": ssh,
        "load": os.getloadavg()[0],
        "packages": {name: version(name) for name in packages},
        "seconds_since_boot": round(time.monotonic()),
    }
