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


class Secrets(Protocol):
    """Where secret values live. Paths are like hub/infra/db/postgres/reconcile."""

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
