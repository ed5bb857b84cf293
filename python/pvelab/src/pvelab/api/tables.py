"""Lists and tables of Proxmox VE that code only looks things up in (tables.json)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def table(name: str) -> Any:
    """One table of the file."""
    return json.loads(Path(__file__).with_name("tables.json").read_text())[name]


def words(name: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(table(name).split())
