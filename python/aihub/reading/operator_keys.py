"""Reads the public keys of the people who may log in, and of those who can open the recovery kit.

A line is taken where sshd takes it, whatever its comment is; one that is not taken is told, and stops no other.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aihub.errors import InvalidInput
from aihub.model.findings import Finding
from aihub.model.target import Target
from aihub.model.types import KEY_LINE, RECOVERY

from . import textfile

_KEY = re.compile(KEY_LINE)
_RECIPIENT = re.compile(RECOVERY)
_OPTIONS = re.compile(r".*\s(?:ssh|ecdsa|sk)-\S+\s+AAAA")
_ODD = re.compile(r"[^A-Za-z0-9 ._@+\\'(),=/-]")  # what would have to be quoted in a file that gets the line
_LONGEST = 100  # characters of a comment
HOW = "ssh-keygen -t ed25519"

Found = tuple[tuple[str, ...], list[Finding], list[str]]


@dataclass(frozen=True)
class _List:
    """A list under `operator`: what may stand in it, and in the files that it names."""

    key: str
    is_line: Callable[[str], bool]
    form: re.Pattern[str]
    what: str


_LOGINS = _List("ssh_keys", lambda entry: len(entry.split()) > 1, _KEY, "public keys, one a line and without options")
_OPENERS = _List(
    "recovery",
    lambda entry: _RECIPIENT.fullmatch(entry) is not None,
    _RECIPIENT,
    "ssh-ed25519 or age keys, one a line",
)


def read(entries: list[str], base: Path, target: Target) -> Found:
    """Key lines, what is wrong, and warnings: a real node wants a key, the lab has the controller's own."""
    found, wrong, warnings = _gathered(_LOGINS, entries, base, target)
    if not entries and target.needs_people:
        message = f"a real Proxmox needs the key of a person: add a .pub file ({HOW})"
        wrong.append(Finding(("operator", "ssh_keys"), message))
    elif not found and not warnings and not wrong:
        warnings.append("operator.ssh_keys is empty: only the controller's own key may log in")
    return found, wrong, warnings


def recovery(entries: list[str], base: Path, target: Target, *, needed: bool) -> Found:
    """Who can open the recovery kit, and what is wrong; the lab makes a key of its own where none is named."""
    found, wrong, warnings = _gathered(_OPENERS, entries, base, target)
    if not entries and needed and target.needs_people:
        message = f"a hub with secrets needs somebody who can open its recovery kit: add a .pub file ({HOW})"
        wrong.append(Finding(("operator", "recovery"), message))
    return found, wrong, warnings


def _gathered(kind: _List, entries: list[str], base: Path, target: Target) -> Found:
    """The lines that a list stands for: written there, or in the files that it names; each key once."""
    found: dict[str, str] = {}
    wrong: list[Finding] = []
    warnings: list[str] = []
    for index, entry in enumerate(entries):
        try:
            lines, left = _entry(entry, base, kind)
        except (InvalidInput, ValueError) as error:
            message = f"{entry} {error if isinstance(error, ValueError) else _reason(error)}"
            if target.needs_people:
                wrong.append(Finding(("operator", kind.key, index), message))
            else:
                warnings.append(f"operator.{kind.key}: {message}")
            continue
        for line in lines:
            found.setdefault(" ".join(line.split(" ", 2)[:2]), line)
        warnings += [f"operator.{kind.key}: {entry} {said}" for said in left]
    return tuple(found.values()), wrong, warnings


def _entry(entry: str, base: Path, kind: _List) -> tuple[list[str], list[str]]:
    """The lines that an entry stands for, and what is to be said of others in its file.

    Raises InvalidInput for a file that can't be read, and ValueError where there is no line at all.
    """
    if kind.is_line(entry):
        line = _taken(entry, kind.form)
        if line is None:
            raise ValueError("is no whole key: copy it again")
        return [line], []
    lines, left = [], []
    for number, text in _lines(textfile.read_foreign(_path(entry, base))):
        line = _taken(text, kind.form)
        if line is not None:
            lines.append(line)
        elif _OPTIONS.match(text):
            left.append(f"line {number} has options before its key, which would be lost: it is not taken")
        else:
            left.append(f"line {number} is none of {kind.what}: it is not taken")
    if not lines:
        raise ValueError(f"does not hold {kind.what}" if left else "holds no key")
    return lines, left


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a file of keys, as sshd counts them, less comments and empty ones."""
    for number, line in enumerate(text.split("\n"), 1):
        if (said := line.strip(" \t\r")) and not said.startswith("#"):
            yield number, said


def _taken(text: str, form: re.Pattern[str]) -> str | None:
    """A key in the one way in which it is passed on; None for what is none."""
    if not form.fullmatch(text):
        return None
    kind, *rest = text.split(maxsplit=2)
    if not rest:
        return kind  # of age
    if not _is_whole(kind, rest[0]):
        return None
    return " ".join((kind, rest[0], *(said for said in map(_plain, rest[1:]) if said)))


def _is_whole(kind: str, encoded: str) -> bool:
    """Whether it is base64 of fields that fill it, the first of which is the key's kind."""
    try:
        left = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    fields = []
    while len(left) >= 4:
        size = int.from_bytes(left[:4], "big")
        fields.append(left[4 : 4 + size])
        if len(fields[-1]) != size:
            return False
        left = left[4 + size :]
    return not left and len(fields) > 1 and fields[0] == kind.encode()


def _plain(comment: str) -> str:
    """A comment in plain characters: it is for people, and goes into files of several kinds."""
    letters = unicodedata.normalize("NFKD", comment)
    bare = "".join(one for one in letters if not unicodedata.combining(one))
    return " ".join(_ODD.sub("_", bare).split())[:_LONGEST].strip()


def _path(entry: str, base: Path) -> Path:
    try:
        return base / Path(entry).expanduser()
    except RuntimeError as error:
        raise ValueError(f"can't be found: {error}") from error


def _reason(error: InvalidInput) -> str:
    return error.problems[0].message
