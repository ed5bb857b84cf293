"""Reads the public keys of the people who may log in, and of those who can open the recovery kit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from aihub.errors import InvalidInput
from aihub.model.findings import Finding
from aihub.model.target import Target
from aihub.model.types import KEY_LINE, RECOVERY

from . import textfile

_LINE = re.compile(KEY_LINE)
_RECIPIENT = re.compile(RECOVERY)
HOW = "ssh-keygen -t ed25519"


def read(entries: list[str], base: Path, target: Target) -> tuple[tuple[str, ...], list[Finding], list[str]]:
    """Key lines, what is wrong, and warnings: a real node wants a key, the lab has the controller's own."""
    found, wrong, warnings = _gathered(
        "ssh_keys", entries, base, target, _has_a_blank, _LINE, "public keys, one a line and without options"
    )
    if not entries and target.needs_people:
        message = f"a real Proxmox needs the key of a person: add a .pub file ({HOW})"
        wrong.append(Finding(("operator", "ssh_keys"), message))
    elif not found and not warnings and not wrong:
        warnings.append("operator.ssh_keys is empty: only the controller's own key may log in")
    return found, wrong, warnings


def recovery(
    entries: list[str], base: Path, target: Target, *, needed: bool
) -> tuple[tuple[str, ...], list[Finding], list[str]]:
    """Who can open the recovery kit, and what is wrong; the lab makes a key of its own where none is named."""
    found, wrong, warnings = _gathered(
        "recovery", entries, base, target, _is_recipient, _RECIPIENT, "ssh-ed25519 or age keys, one a line"
    )
    if not entries and needed and target.needs_people:
        message = f"a hub with secrets needs somebody who can open its recovery kit: add a .pub file ({HOW})"
        wrong.append(Finding(("operator", "recovery"), message))
    return found, wrong, warnings


def _gathered(
    key: str,
    entries: list[str],
    base: Path,
    target: Target,
    is_line: Callable[[str], bool],
    form: re.Pattern[str],
    what: str,
) -> tuple[tuple[str, ...], list[Finding], list[str]]:
    """The lines that a list of operator.KEY stands for: written there, or in the files that it names."""
    found: list[str] = []
    wrong: list[Finding] = []
    warnings: list[str] = []
    for index, entry in enumerate(entries):
        if is_line(entry):
            found.append(entry)
            continue
        try:
            found += _lines(_path(entry, base), form, what)
        except (InvalidInput, ValueError) as error:
            message = f"{entry} {error if isinstance(error, ValueError) else _reason(error)}"
            if target.needs_people:
                wrong.append(Finding(("operator", key, index), message))
            else:
                warnings.append(f"operator.{key}: {message}")
    return tuple(dict.fromkeys(found)), wrong, warnings


def _has_a_blank(entry: str) -> bool:
    return " " in entry


def _is_recipient(entry: str) -> bool:
    return _RECIPIENT.fullmatch(entry) is not None


def _path(entry: str, base: Path) -> Path:
    try:
        return base / Path(entry).expanduser()
    except RuntimeError as error:
        raise ValueError(f"can't be found: {error}") from error


def _lines(path: Path, form: re.Pattern[str], what: str) -> list[str]:
    lines = [line.strip() for line in textfile.read(path).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    for line in lines:
        if not form.fullmatch(line):
            raise ValueError(f"does not hold {what}")
    if not lines:
        raise ValueError("holds no key")
    return lines


def _reason(error: InvalidInput) -> str:
    return error.problems[0].message
