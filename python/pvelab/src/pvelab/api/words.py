"""Small texts that Proxmox VE parses and prints everywhere: lists, booleans, sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
NUMBER = re.compile(r"[+-]?(\d+\.\d+|\d+\.|\.\d+|\d+)([eE][+-]?\d+)?")
INTEGER = re.compile(r"[+-]?\d+")
TRUE = {"1", "on", "yes", "true"}
FALSE = {"0", "off", "no", "false"}


def split_list(text: str) -> list[str]:
    """The items of a `-list` value: separated by comma, semicolon, NUL or white space."""
    return [item for item in re.split(r"[,;\0\s]+", text.strip()) if item]


def boolean(text: str) -> str | None:
    """'1' or '0' for what property strings accept as a boolean, None for anything else."""
    lowered = text.lower()
    if lowered in TRUE:
        return "1"
    return "0" if lowered in FALSE else None


def truth(value: object) -> bool:
    """Perl's idea of a true option value."""
    return value not in (None, "", "0", 0, False)


def parse_size(text: str) -> int | None:
    """Bytes of a size such as `8G`; None when it is no size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT](?:iB)?)?", text)
    if not found:
        return None
    unit = found[2]
    return int(float(found[1]) * UNITS[unit[0]]) if unit else int(float(found[1]))


def format_size(size: int) -> str:
    """The shortest exact text of a size: 8G, 512M, 4194304K, or plain bytes."""
    for unit in ("", "K", "M", "G"):
        if size % 1024:
            return f"{size}{unit}"
        size //= 1024
    return f"{size}T"


def commented(found: dict[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """An answer with the comment of what it is about, if there is one."""
    return {**found, "comment": source["comment"]} if source.get("comment") else found


def number(text: str) -> int | float:
    """The number a text holds, an int where it is one."""
    return int(text) if INTEGER.fullmatch(text) else float(text)


def template(text: str, values: dict[str, object]) -> str:
    """Replaces {name} by its value, or by a dash."""
    return re.sub(r"\{(\w+)\}", lambda found: str(values[found[1]]) if truth(values.get(found[1])) else "-", text)
