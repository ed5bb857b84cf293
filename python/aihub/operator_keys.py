"""Reads the public keys of the people who may log in."""

from __future__ import annotations

import re
from pathlib import Path

from . import textfile
from .errors import InvalidInput
from .model.findings import Finding
from .model.types import KEY_LINE

_LINE = re.compile(KEY_LINE)
HOW = "ssh-keygen -t ed25519"


def read(entries: list[str], base: Path, target: str) -> tuple[tuple[str, ...], list[Finding], list[str]]:
    """Key lines, what is wrong, and warnings: a real node wants a key, the lab has the controller's own."""
    found: list[str] = []
    wrong: list[Finding] = []
    warnings: list[str] = []
    for index, entry in enumerate(entries):
        place = ("operator", "ssh_keys", index)
        if " " in entry:
            found.append(entry)
            continue
        try:
            found += _lines(_path(entry, base))
        except (InvalidInput, ValueError) as error:
            message = f"{entry} {error if isinstance(error, ValueError) else _reason(error)}"
            if target == "pve":
                wrong.append(Finding(place, message))
            else:
                warnings.append(f"operator.ssh_keys: {message}")
    if not entries and target == "pve":
        message = f"a real Proxmox needs the key of a person: add a .pub file ({HOW})"
        wrong.append(Finding(("operator", "ssh_keys"), message))
    elif not found and not warnings and not wrong:
        warnings.append("operator.ssh_keys is empty: only the controller's own key may log in")
    return tuple(dict.fromkeys(found)), wrong, warnings


def _path(entry: str, base: Path) -> Path:
    try:
        return base / Path(entry).expanduser()
    except RuntimeError as error:
        raise ValueError(f"can't be found: {error}") from error


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in textfile.read(path).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    for line in lines:
        if not _LINE.fullmatch(line):
            raise ValueError("does not hold public keys, one a line and without options")
    if not lines:
        raise ValueError("holds no key")
    return lines


def _reason(error: InvalidInput) -> str:
    return error.problems[0].message
