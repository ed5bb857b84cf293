"""What a keeper of secrets can do: whoever needs a value knows this protocol only. The keeper is the vault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """One entry as it is now. The values are never printed."""

    data: Mapping[str, str] = field(repr=False)
    version: int
    created: datetime
    marks: Mapping[str, str] = field(default_factory=dict)  # what is said about it beside its values


class Secrets(Protocol):
    """Where secret values live. Paths are like hub/GUEST/STACK/NAME, by ids."""

    def read(self, path: str) -> Entry | None:
        """The newest version of an entry; None when there is none."""

    def write(self, path: str, data: Mapping[str, str], cas: int) -> int:
        """Makes a new version, if `cas` is still the newest one (0: there is none yet); gives its number.

        Raises Conflict, naming path and keys, when it is not.
        """

    def destroy(self, path: str) -> None:
        """Removes an entry with every version; fine if there is none."""

    def list(self, prefix: str) -> Sequence[str]:
        """The paths of all entries below a prefix, sorted."""


class Marked(Secrets, Protocol):
    """A keeper that can be told more of an entry than its values; a mark is no secret."""

    def marks(self, path: str) -> Mapping[str, str] | None:
        """What is said about an entry; None when it has no value, or is not there."""

    def mark(self, path: str, marks: Mapping[str, str]) -> None:
        """Says this about an entry, there or still to be made; an empty text takes a mark away, others stay."""
