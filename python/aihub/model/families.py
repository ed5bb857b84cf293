"""What the names of models and cards tell: size, shape, quantisation, what a card computes with.

Numbers are those of the models' own config.json files and of NVIDIA's tables; a model or card that is not here is not
guessed at, and a person says in hub.yml what it takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

BITS: Mapping[str, float] = {
    "q2": 3.35,
    "q3": 3.91,
    "q4": 4.85,
    "q5": 5.7,
    "q6": 6.56,
    "q8": 8.5,
    "awq": 4.6,
    "gptq": 4.6,
    "nvfp4": 4.6,
    "fp8": 8.1,
    "fp16": 16,
}
"""Bits that a weight fills, its share of scales and of layers that are kept larger included."""

CAPABILITY: Mapping[str, float] = {
    "10de:2204": 8.6,  # RTX 3090
    "10de:2206": 8.6,  # RTX 3080
    "10de:2487": 8.6,  # RTX 3060 on GA104
    "10de:24c7": 8.6,
    "10de:2501": 8.6,  # RTX 3060 on GA106
    "10de:2503": 8.6,
    "10de:2504": 8.6,
    "10de:2509": 8.6,
    "10de:2544": 8.6,
    "10de:2684": 8.9,  # RTX 4090
    "10de:2b85": 12.0,  # RTX 5090
    "10de:2b87": 12.0,
    "10de:2bb1": 12.0,  # RTX PRO 6000 Blackwell
}
"""CUDA's compute capability of a card, by its PCI id."""

_QUANTISATION = re.compile(
    r"(?i)(?:^|[:_.\-])(?:i?(q[234568])(?=[_.\-:]|$)|(awq)|(gptq)|(nvfp4)|(fp8|w8a8)|(b?f(?:p)?16))(?![a-z0-9])"
)
_PARAMETERS = re.compile(r"(?:^|[:_\-])([0-9]{1,4}(?:\.[0-9]{1,3})?)([bBmM])(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Family:
    """One size of a family of models."""

    parameters: float  # billions
    layers: int = 0  # those that attend to the whole context, and so keep keys and values of all of it
    heads: int = 0  # for keys and values
    width: int = 0  # of one of them

    @property
    def kept(self) -> int:
        """Numbers that one token keeps in the KV cache."""
        return 2 * self.layers * self.heads * self.width


_FAMILIES: Mapping[str, Mapping[str, Family]] = {
    r"qwen2\.5": {
        "0.5b": Family(0.49, 24, 2, 64),
        "1.5b": Family(1.54, 28, 2, 128),
        "3b": Family(3.09, 36, 2, 128),
        "7b": Family(7.62, 28, 4, 128),
        "14b": Family(14.8, 48, 8, 128),
        "32b": Family(32.8, 64, 8, 128),
        "72b": Family(72.7, 80, 8, 128),
    },
    r"qwen3": {
        "4b": Family(4.02, 36, 8, 128),
        "8b": Family(8.19, 36, 8, 128),
        "14b": Family(14.8, 40, 8, 128),
        "32b": Family(32.8, 64, 8, 128),
    },
    r"qwen3\.[68]": {"27b": Family(27.0, 16, 4, 256), "35b": Family(35.0, 10, 2, 256)},
    r"llama-?3(?:\.[13])?": {"8b": Family(8.03, 32, 8, 128), "70b": Family(70.6, 80, 8, 128)},
    r"llama-?3\.2": {"1b": Family(1.24, 16, 8, 64), "3b": Family(3.21, 28, 8, 128)},
    r"mistral": {"7b": Family(7.25, 32, 8, 128)},
    r"mistral-small3?(?:\.[12])?": {"24b": Family(23.6, 40, 8, 128)},
    r"smollm2": {"135m": Family(0.135, 30, 3, 64), "360m": Family(0.362, 32, 5, 64), "1.7b": Family(1.71, 24, 32, 64)},
    r"bge-m3": {"": Family(0.568)},
    r"nomic-embed-text": {"": Family(0.137)},
    r"multilingual-e5-(?:small)": {"": Family(0.118)},
    r"multilingual-e5-(?:base)": {"": Family(0.278)},
    r"multilingual-e5-(?:large)": {"": Family(0.560)},
}


def family_of(weights: str) -> Family | None:
    """The family and size that a name tells; None for one that is not known."""
    name = weights.lower()
    size = _PARAMETERS.search(name)
    for pattern, sizes in _FAMILIES.items():
        if re.search(rf"(?:^|[/:_\-]){pattern}(?![0-9.]*[0-9])", name):
            found = sizes.get(f"{size[1]}{size[2]}" if size else "") or sizes.get("")
            if found:
                return found
    return None


def quantisation_of(weights: str, unmarked: str) -> str:
    """How weights are written, as a key of BITS; `unmarked` is that of a name that does not say it."""
    found = _QUANTISATION.search(weights)
    if not found:
        return unmarked
    small, awq, gptq, nvfp4, eight, _ = found.groups()
    return (small or awq or gptq or nvfp4 or ("fp8" if eight else "fp16")).lower()


def parameters_of(weights: str) -> float:
    """Billions of parameters as a name tells them; 0 where it tells none."""
    family = family_of(weights)
    if family:
        return family.parameters
    size = _PARAMETERS.search(weights)
    return float(size[1]) / (1000 if size[2] in "mM" else 1) if size else 0


_WORDS: tuple[tuple[str, tuple[str, str]], ...] = (
    (r"e5-[a-z]+-instruct", ("Instruct: Find passages that answer the question\nQuery: ", "")),
    (r"e5-(?:small|base|large)", ("query: ", "passage: ")),
    (r"nomic-embed-text", ("search_query: ", "search_document: ")),
)


def words_before(weights: str) -> tuple[str, str]:
    """What an embedding model was trained to see before a question and before a passage; empty where nothing is known.

    Each is from the model's own card.
    """
    name = weights.lower()
    return next((words for pattern, words in _WORDS if re.search(rf"(?:^|[/:_\-]){pattern}", name)), ("", ""))
