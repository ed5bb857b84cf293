"""Steps: what metal does to a node, one object each, and how pyinfra's output carries them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal, get_args

Action = Literal["create", "update", "delete", "configure"]


@dataclass(frozen=True)
class Upload:
    """A file to be written on the node, owned by root."""

    path: str
    text: str
    mode: str = "644"


@dataclass(frozen=True)
class Step:
    """One object of the node. Without commands it is as wanted."""

    subject: str
    action: Action = "configure"
    differences: tuple[tuple[str, str, str], ...] = ()  # field, actual, wanted
    commands: tuple[str | Upload, ...] = ()

    @property
    def label(self) -> str:
        """The step in one line, as the name of a pyinfra operation."""
        parts = [f"{_plain(f)}: {_plain(a)} -> {_plain(w)}" for f, a, w in self.differences]
        return " | ".join([f"{self.action} {_plain(self.subject)}", *parts])


def parse_label(label: str) -> Step:
    """The step that a label was made of, without its commands."""
    head, *parts = label.split(" | ")
    word, _, subject = head.partition(" ")
    action = next(a for a in get_args(Action) if a == word)
    differences = []
    for part in parts:
        name, _, values = part.partition(": ")
        actual, _, wanted = values.partition(" -> ")
        differences.append((name, actual, wanted))
    return Step(subject, action, tuple(differences))


def command(*words: str) -> str:
    """A shell command of quoted words."""
    return shlex.join(words)


def _plain(text: str) -> str:
    return " ".join(text.replace("|", "/").replace("->", ">").split())
