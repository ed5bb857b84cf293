"""The language models of a hub: what they take, who serves them, how quick they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from aihub.model.hub import LanguageModel
from aihub.services.engines import Speed

from .console import BAD, FAINT, GOOD, NAME, out, table, text

SERVED = "served"
_PROCESSOR = "the processor"


@dataclass(frozen=True)
class ModelRow:
    """One model as `aihub models list` shows it."""

    name: str
    model: LanguageModel
    engine: str  # STACK@GUEST
    card: str | None
    takes: int  # bytes of the card
    state: str
    label: str = ""  # what stands in for it

    def labelled(self, label: str) -> ModelRow:
        """The same, with what stands in for it in the lab."""
        return replace(self, label=label)

    def as_json(self) -> dict[str, Any]:
        """The row as `--json` prints it."""
        return {**asdict(self), "model": self.model.model_dump(mode="json")}


@dataclass(frozen=True)
class SpeedRow:
    """One model as `aihub models bench` shows it."""

    name: str
    model: LanguageModel
    engine: str
    card: str | None
    speed: Speed
    label: str = ""

    def as_json(self) -> dict[str, Any]:
        """The row as `--json` prints it."""
        return {**asdict(self), "model": self.model.model_dump(mode="json")}


def models(rows: Sequence[ModelRow]) -> None:
    """Prints every model with what it takes of its card."""
    made = table("model", "for", "engine", "weights", "context", "takes", "of", "", right=("context", "takes"))
    for row in rows:
        each = f"{row.model.parallel} x " if row.model.parallel > 1 else ""
        made.add_row(
            _name(row.name, row.label),
            row.model.use,
            text(row.engine),
            text(row.model.weights),
            f"{each}{row.model.context}",
            f"{row.takes / (1 << 30):.1f} GiB",
            text(row.card or _PROCESSOR),
            text((row.state, GOOD if row.state == SERVED else BAD)),
        )
    out().print(made)


def speeds(rows: Sequence[SpeedRow]) -> None:
    """Prints how quick every model is."""
    made = table("model", "engine", "weights", "on", "first", "then", right=("first", "then"))
    for row in rows:
        unit = "tokens/s" if row.model.use == "chat" else "texts/s"
        made.add_row(
            _name(row.name, row.label),
            text(row.engine),
            text(row.model.weights),
            text(row.card or _PROCESSOR),
            f"{row.speed.first:.2f} s",
            f"{row.speed.rate:.1f} {unit}",
        )
    out().print(made)


def _name(name: str, label: str) -> Any:
    return text((name, NAME), (f" (lab: {label})" if label else "", FAINT))
