"""Steps: what metal does to a node, one object each."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

Action = Literal["create", "update", "delete", "configure"]
Kind = Literal[
    "repositories", "packages", "limits", "routing", "walls", "bridge", "interfaces", "dns", "time", "unsealing",
    "storage", "flags", "binding", "kernel", "driver", "guard", "mapping", "pool", "role", "user", "token", "rights",
]  # fmt: skip


@dataclass(frozen=True)
class Upload:
    """A file to be written on the node, owned by root."""

    path: str
    text: str
    mode: str = "644"


@dataclass(frozen=True)
class Step:
    """One object of the node. Without commands it is as wanted; `restart`: something that runs is stopped for it."""

    kind: Kind
    subject: str
    action: Action = "configure"
    differences: tuple[tuple[str, str, str], ...] = ()  # field, actual, wanted
    commands: tuple[str | Upload, ...] = ()
    restart: bool = False


def command(*words: str) -> str:
    """A shell command of quoted words."""
    return shlex.join(words)
