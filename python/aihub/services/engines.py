"""Language models as whoever uses them sees them: asks the engines of hub.yml, over OpenAI's API."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from aihub.errors import TaskFailed
from aihub.model.hub import LanguageModel
from aihub.model.resolved import Hub, Instance
from aihub.model.stack import MODELS
from aihub.state.directory import State

from . import road
from .http import Http

LOADING = 600.0  # seconds until a model of tens of GB is in memory, or a processor has said its next word
TOKENS = 64  # that a model is asked for when it is measured
_QUESTION = "Count from one to fifty in words."
_TEXT = "The dog sleeps in the garage when it rains."


@dataclass(frozen=True)
class _Name:
    id: str


@dataclass(frozen=True)
class _Names:
    data: list[_Name]


@dataclass(frozen=True)
class _Delta:
    content: str | None = None


@dataclass(frozen=True)
class _Part:
    delta: _Delta = field(default_factory=_Delta)


@dataclass(frozen=True)
class _Event:
    choices: list[_Part] = field(default_factory=list)


@dataclass(frozen=True)
class _Vector:
    embedding: list[float]


@dataclass(frozen=True)
class _Vectors:
    data: list[_Vector]


@dataclass(frozen=True)
class Speed:
    """How quick a model is: seconds to its first token or vector, tokens or vectors in each second after."""

    first: float
    rate: float
    parts: int


def engines(hub: Hub) -> Mapping[str, Instance]:
    """The engine of each model of hub.yml."""
    found = ((name, f"{model.engine}@{model.guest}") for name, model in hub.models.items())
    return {name: hub.instance(instance) for name, instance in found}


def listed(state: State, instance: Instance) -> frozenset[str] | None:
    """The models that an engine says it serves; None where it keeps no list: it serves what it was started with.

    Raises Unreachable, and TaskFailed for an answer that is none.
    """
    with _opened(state, instance, 10) as (engine, api):
        found = engine.find(f"{api}/models", _Names)
        return None if found is None else frozenset(name.id for name in found.data)


def has(there: frozenset[str] | None, model: LanguageModel, name: str) -> bool:
    """Whether an engine serves a model, under the name of its weights or its own; a tag that is `latest` is none."""
    return there is None or bool(there & {model.weights, f"{model.weights}:latest", name})


def measure(state: State, instance: Instance, model: LanguageModel, tokens: int = TOKENS) -> Speed:
    """Asks a model for some tokens, one question at a time. Raises TaskFailed where it says nothing."""
    with _opened(state, instance, LOADING) as (engine, api):
        return _embed(engine, api, model) if model.use == "embedding" else _chat(engine, api, model, tokens)


def _chat(engine: Http, api: str, model: LanguageModel, tokens: int) -> Speed:
    body = {
        "model": model.weights,
        "stream": True,
        "max_tokens": tokens,
        "temperature": 0,
        "messages": [{"role": "user", "content": _QUESTION}],
    }
    begin, times = time.monotonic(), list[float]()
    for event in engine.events("POST", f"{api}/chat/completions", body, _Event, silence=LOADING):
        times += [time.monotonic() for part in event.choices if part.delta.content]
    if not times:
        raise TaskFailed(f"{model.weights} answered without a word", hint="aihub logs shows what its engine says")
    took = times[-1] - times[0]
    return Speed(times[0] - begin, (len(times) - 1) / took if took else 0.0, len(times))


def _embed(engine: Http, api: str, model: LanguageModel) -> Speed:
    times = [time.monotonic()]
    for _ in range(9):
        found = engine.ask("POST", f"{api}/embeddings", {"model": model.weights, "input": [_TEXT]}, _Vectors)
        if not found.data or not found.data[0].embedding:
            raise TaskFailed(
                f"{model.weights} answered without an embedding", hint="aihub logs shows what its engine says"
            )
        times.append(time.monotonic())
    return Speed(times[1] - times[0], (len(times) - 2) / (times[-1] - times[1]), len(times) - 1)


@contextmanager
def _opened(state: State, instance: Instance, seconds: float) -> Iterator[tuple[Http, str]]:
    """A client of an engine, and the path below which OpenAI's API is."""
    with road.to(state, instance) as found, closing(Http(found.socket(), instance.name, seconds=seconds)) as http:
        yield http, instance.stack.gives[MODELS].api
