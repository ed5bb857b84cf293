"""What is under way, in the vault itself: one entry for each replacement, made by check-and-set and gone at the end.

Each phase is written down before its first change. Whoever writes the entry goes on, and everybody else who tries
finds it moved: of two rotations of one secret at most one continues.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aihub.errors import Conflict, Locked
from aihub.services.secrets import Secrets

PREFIX = "operator/rotation"


@dataclass
class Record:
    """One replacement as the journal has it. The values are never printed."""

    store: Secrets
    name: str
    data: dict[str, str] = field(repr=False)
    version: int

    @property
    def phase(self) -> str:
        return self.data["phase"]

    def enter(self, phase: str) -> None:
        """Writes down what comes next. Raises Locked when another run has taken this replacement over."""
        wanted = {**self.data, "phase": phase}
        self.version = _write(self.store, self.name, wanted, self.version)
        self.data = wanted

    def close(self) -> None:
        """All is done."""
        self.store.destroy(path(self.name))


def path(name: str) -> str:
    """Where the journal keeps a replacement."""
    return f"{PREFIX}/{name}"


def pending(store: Secrets) -> list[str]:
    """The names of everything that an earlier run began and did not finish."""
    return [found.removeprefix(f"{PREFIX}/") for found in store.list(PREFIX)]


def opened(store: Secrets, name: str, data: Mapping[str, str]) -> Record:
    """Begins. Raises Locked when somebody else has begun the same."""
    return Record(store, name, dict(data), _write(store, name, data, 0))


def taken(store: Secrets, name: str) -> Record | None:
    """Takes over what an earlier run began; None where there is nothing."""
    entry = store.read(path(name))
    if entry is None:
        return None
    record = Record(store, name, dict(entry.data), entry.version)
    record.enter(record.phase)
    return record


def _write(store: Secrets, name: str, data: Mapping[str, str], version: int) -> int:
    try:
        return store.write(path(name), data, version)
    except Conflict as error:
        raise Locked(
            "another run is replacing this secret right now",
            where=name,
            hint="wait until it has ended, then run the same command again",
        ) from error
