"""The language models of a hub: what they take, who serves them, how quick they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aihub.model.hub import LanguageModel
from aihub.services.engines import Speed

from .console import BAD, FAINT, GOOD, NAME, out, table, text

SERVED = "served"
_PROCESSOR = "the processor"


@dataclass(frozen=True)
class _Row:
    """A model, who serves it on what, and what stands in for it in the lab."""

    name: str
    model: LanguageModel
    engine: str  # STACK@GUEST
    card: str | None
    label: str

    def as_json(self) -> dict[str, Any]:
        """The row as `--json` prints it."""
        return {**asdict(self), "model": self.model.model_dump(mode="json")}


@dataclass(frozen=True)
class ModelRow(_Row):
    """One model as `aihub models list` shows it."""

    takes: int  # bytes of the card
    known: bool  # else its name tells too little, and its context takes more
    state: str


@dataclass(frozen=True)
class SpeedRow(_Row):
    """One model as `aihub models bench` shows it."""

    speed: Speed


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
            f"{'' if row.known else 'over '}{row.takes / (1 << 30):.1f} GiB",
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
