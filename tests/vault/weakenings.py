"""Rotation made worse on purpose, to see that the tests would notice. Each is applied in a child of the driver."""

from __future__ import annotations

from typing import Any

from aihub.secrets.rotation import pairs, records
from aihub.secrets.rotation.pairs import Rotation
from aihub.secrets.rotation.records import Record


def apply(name: str) -> dict[str, Any]:
    """Weakens this process; gives what else is to be replaced in its Systems."""
    return {"publish before proving": unproven, "retire before the consumer has it": early, "no journal": forgetful}[
        name
    ]()


def unproven() -> dict[str, Any]:
    offer, finish = Rotation.offer, Rotation.finish

    def late(self: Rotation) -> None:
        offer(self)
        finish(self)

    Rotation.offer = lambda self: None  # type: ignore[method-assign]
    Rotation.finish = late  # type: ignore[method-assign]
    return {}


def early() -> dict[str, Any]:
    return {"wait": lambda guest, versions: None, "grace": 0.0}


def forgetful() -> dict[str, Any]:
    def enter(self: Record, phase: str) -> None:
        self.data = {**self.data, "phase": phase}

    Record.enter = enter  # type: ignore[method-assign]
    records.opened = pairs.records.opened = lambda store, name, data: Record(store, name, dict(data), 0)
    return {}
