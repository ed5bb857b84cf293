"""What the language models of a guest take of its card: weights, KV cache, the engine's own memory.

weights = parameters * bits of their quantisation
KV cache = 2 * layers * heads * width * bytes of a number * context * requests at a time
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .families import BITS, family_of, parameters_of, quantisation_of
from .hub import LanguageModel

GIB = 1 << 30
RUNNING = GIB * 3 // 2
"""What an engine takes for each model beside weights and cache: CUDA's context and buffers."""
RESERVE = GIB // 2
"""What stays free of a card."""
STEP = 1024
"""Tokens: a context that would fit is told as a multiple of this."""
NUMBER = {"f16": 2.0, "q8_0": 1.0625, "q4_0": 0.5625, "fp8": 1.0}
"""Bytes of one number in the KV cache."""


@dataclass(frozen=True)
class Need:
    """What one model takes of a card, in bytes; `known` is false where its name tells too little for the cache."""

    model: str
    weights: int
    token: float  # bytes that one token of context takes in the KV cache
    context: int
    parallel: int
    known: bool = True
    running: int = RUNNING  # what its engine takes beside them; 0 where hub.yml says what it takes in all

    @property
    def cache(self) -> int:
        return int(self.token * self.context * self.parallel)

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.running


@dataclass(frozen=True)
class Serving:
    """How an engine is started for all of its models."""

    context: int
    parallel: int
    kv: str
    keep_loaded: bool

    @classmethod
    def of(cls, models: Iterable[LanguageModel]) -> Serving:
        """The largest context and most requests that one of them asks for; for the rest, what one of them says."""
        every = tuple(models)
        said = {key: getattr(m, key) for m in every for key in ("kv", "keep_loaded") if key in m.model_fields_set}
        return cls(
            context=max((m.context for m in every), default=LanguageModel.model_fields["context"].default),
            parallel=max((m.parallel for m in every), default=1),
            kv=said.get("kv", "f16"),
            keep_loaded=said.get("keep_loaded", True),
        )


def need_of(name: str, model: LanguageModel, serving: Serving, unmarked: str) -> Need:
    """What a model takes. `unmarked` is the quantisation of weights whose name tells none."""
    if model.memory is not None:
        return Need(name, model.memory, 0, serving.context, serving.parallel, running=0)
    quantisation = quantisation_of(model.weights, unmarked)
    weights = int(parameters_of(model.weights) * 1e9 * BITS[quantisation] / 8)
    family = family_of(model.weights)
    token = family.kept * NUMBER[serving.kv] if family else 0
    return Need(name, weights, token, serving.context, serving.parallel, known=family is not None)


def total(needs: Iterable[Need]) -> int:
    """What models take together, with what stays free."""
    return sum(need.total for need in needs) + RESERVE


def largest_context(need: Need, others: Iterable[Need], card: int) -> int:
    """The largest context with which a model fits a card beside others; 0 where none does."""
    left = card - total([replace(need, context=0), *others])
    if left <= 0:
        return 0
    if not need.token:
        return need.context
    return min(int(left / (need.token * need.parallel)) // STEP * STEP, need.context)
