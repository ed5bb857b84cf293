"""Values freed from the ways Proxmox rewrites what it is sent; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from aihub.model.types import format_size
from aihub.proxmox.properties import parse, stem

from .desired import MIB

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
WORDS = re.compile(r"[;,\s]+")
# What Proxmox takes for a key that is not there.
DEFAULTS = {
    "lxc": {"memory": "512", "swap": "512", "onboot": "0"},
    "vm": {
        "memory": "512",
        "sockets": "1",
        "cores": "1",
        "onboot": "0",
        "ostype": "other",
        "scsihw": "lsi",
        "bios": "seabios",
    },
}


def normal(key: str, value: str) -> str:
    """One spelling for all that mean the same."""
    if stem(key) == "dev":
        return ",".join(f"{name}={part}" for name, part in sorted(parse(key, value).items()))
    return _NORMAL.get(key, str.strip)(value)


def shown(key: str, value: str) -> str:
    """The value as a person reads it: memory and swap with a unit."""
    text = value if stem(key) == "dev" else normal(key, value)
    sized = key in ("memory", "swap") and text.isdigit() and text != "0"
    return format_size(int(text) * MIB) if sized else text


def parse_disk_size(text: str) -> int | None:
    """Bytes of a size as PVE writes it, like `64G` or `528K`; None for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return round(float(found[1]) * UNITS[found[2]]) if found else None


def _words(text: str) -> str:
    return " ".join(filter(None, WORDS.split(text)))


def _tags(text: str) -> str:
    return ";".join(sorted({t.lower() for t in WORDS.split(text) if t}))


def _number(text: str) -> str:
    found = re.match(r"(?:current=)?(\d+)", text.strip())
    return str(int(found[1])) if found else text.strip()


def _kind(text: str) -> str:
    """The type that a property string begins with."""
    return text.strip().partition(",")[0].removeprefix("type=")


_NORMAL: Mapping[str, Callable[[str], str]] = {
    "cores": _number,
    "sockets": _number,
    "memory": _number,
    "swap": _number,
    "onboot": _number,
    "tags": _tags,
    "nameserver": _words,
    "searchdomain": _words,
    "cpu": lambda text: text.strip().removeprefix("cputype="),
    "machine": lambda text: "q35" if "q35" in _kind(text) else text.strip(),  # whatever its version
    "vga": _kind,
}
