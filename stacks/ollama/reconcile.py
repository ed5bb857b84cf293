"""Language models of Ollama: pulls what hub.yml declares for this guest; run by aihub.services.

Models that are there and not declared stay: somebody may have made them by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aihub.errors import TaskFailed
from aihub.services.declared import Declared
from aihub.services.service import Service, Step
from aihub.services.wire import plain

_SECONDS_BETWEEN_LINES = 300  # checking the sum of tens of GB is silent work

State = frozenset[str]


@dataclass(frozen=True)
class Model:
    """A model that is there."""

    name: str


@dataclass(frozen=True)
class Models:
    """All of them."""

    models: list[Model]


@dataclass(frozen=True)
class Told:
    """How far a pull is."""

    status: str = ""
    error: str = ""
    total: int = 0
    completed: int = 0


def read(service: Service) -> State:
    """The names of the models that are there."""
    with service.http() as ollama:
        return frozenset(model.name for model in ollama.get("/api/tags", Models).models)


def diff(declared: Declared, state: State | None) -> list[Step]:
    """One step for each declared model whose weights are missing."""
    return [
        Step("create", f"model {weights}", details={"weights": weights})
        for weights in dict.fromkeys(map(_tagged, declared.models))
        if weights not in (state or ())
    ]


def apply(service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Pulls the weights, one model after the other, and tells how far it is."""
    for step in steps:
        _pull(service, step.details["weights"], say)


def _pull(service: Service, weights: str, say: Callable[[str], None]) -> None:
    body, last = {"model": weights, "stream": True}, ""
    with service.http() as ollama:
        for told in ollama.lines("POST", "/api/pull", body, Told, silence=_SECONDS_BETWEEN_LINES):
            if told.error:
                raise TaskFailed(
                    f"{weights} can't be pulled: {plain(told.error)}",
                    where=service.instance.name,
                    hint="look at the egress proxy: aihub ssh GUEST -- docker logs egress-egress-1",
                )
            text = _progress(weights, told)
            if text != last:
                say(text)
            last = text
    if last != f"{weights}: success":
        raise TaskFailed(f"{weights}: the pull ended without success", where=service.instance.name, hint="aihub up")


def _tagged(weights: str) -> str:
    """The name with its tag, as Ollama lists it."""
    return weights if ":" in weights.rpartition("/")[2] else f"{weights}:latest"


def _progress(weights: str, told: Told) -> str:
    part = f" {100 * told.completed // told.total // 10 * 10} %" if told.total > 0 else ""
    return f"{weights}: {plain(told.status)}{part}"
