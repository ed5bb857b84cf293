"""The table of faults: how often each was tried, how often it was survived, and what it broke when it was let to.

Each test module keeps its own rows in build/faults/; all of them together are build/faults.json, which the README's
table is made of. Only a whole run (AIHUB_CRASH_POINTS=all) in one process writes: a part says nothing about the rest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[2] / "build"
WHOLE = os.environ.get("AIHUB_CRASH_POINTS") == "all"
SHARED = "PYTEST_XDIST_WORKER" in os.environ


@dataclass
class Row:
    """One fault."""

    fault: str
    tried: int = 0
    survived: int = 0
    weakened: str = ""


class Table:
    """The rows of one test module."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def _row(self, fault: str) -> Row:
        return self.rows.setdefault(fault, Row(fault))

    def tried(self, fault: str, wrong: list[str], times: int = 1) -> None:
        """One more try (or several); `wrong` is what was not as it must be: empty when it was survived."""
        row = self._row(fault)
        row.tried += times
        row.survived += 0 if wrong else times

    def seen_to_fail(self, fault: str, weakening: str, wrong: list[str]) -> None:
        """With the product weakened, the fault did break something."""
        row = self._row(fault)
        text = f"{weakening}: {wrong[0].partition(': ')[0][:120]}"
        row.weakened = f"{row.weakened}; {text}" if row.weakened else text

    def write(self, module: str) -> None:
        """Keeps the rows and puts the rows of all modules together."""
        folder = BUILD / "faults"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{module}.json").write_text(json.dumps([asdict(r) for r in self.rows.values()], indent=1) + "\n")
        rows = [row for path in sorted(folder.glob("*.json")) for row in json.loads(path.read_text())]
        (BUILD / "faults.json").write_text(json.dumps(rows, indent=1) + "\n")


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    """The rows of the module that asks."""
    found = Table()
    yield found
    if WHOLE and not SHARED:
        found.write(request.module.__name__.rpartition(".")[2].removeprefix("test_"))
