"""The facts of Proxmox VE 9.2's API surface: paths, parameters, limits, permissions (surface.json)."""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
GROUPED = re.compile(r"(\w+)\[(\d+)-(\d+)\]")


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """The whole file, read once."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("surface.json").read_text())
    return found


def named_format(name: str) -> dict[str, Schema] | None:
    """The fields of a named property-string format, None when there is none of that name."""
    found: dict[str, Schema] | None = facts()["formats"].get(name)
    return found


@cache
def parameters(method: str, path: str) -> dict[str, Schema]:
    """The parameters of one endpoint, numbered ones (net0, net1, ...) written out."""
    types = facts()["types"]
    result: dict[str, Schema] = {}
    for name, index in facts()["methods"][f"{method} {path}"]["params"].items():
        grouped = GROUPED.fullmatch(name)
        if grouped:
            result |= {f"{grouped[1]}{n}": types[index] for n in range(int(grouped[2]), int(grouped[3]) + 1)}
        else:
            result[name] = types[index]
    return result


def entry(method: str, path: str) -> dict[str, Any] | None:
    """What is known of an endpoint besides its parameters: perm, token, proxyto, open."""
    found: dict[str, Any] | None = facts()["methods"].get(f"{method} {path}")
    return found
