"""Texts are found by what they mean, whatever their words and their language."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from typing import Any

import pytest
from aihub.model.hub import LanguageModel
from aihub.model.resolved import Hub, Instance
from aihub.targets import images

PORT = 8070
TEXTS = {
    "en": {
        "When do I have to pay the bill?": "The invoice has to be paid within thirty days.",
        "On which days is nobody at work?": "Our office is closed on public holidays.",
        "Where does the pet rest?": "The dog sleeps in the garden.",
        "How do I leave when there is a fire?": "In an emergency take the stairs and not the lift.",
    },
    "de": {
        "Wann kommt der Techniker für die Wärmeanlage?": "Die Heizung wird jedes Jahr im Herbst gewartet.",
        "Von wo geht es nach Hamburg?": "Der Zug an die Elbe fährt von Gleis sieben.",
        "Was gibt es heute zu essen?": "In der Kantine kocht man Kartoffelsuppe.",
    },
    "both": {
        "An welchen Tagen hat das Büro geschlossen?": "Our office is closed on public holidays.",
        "From which platform does the train leave?": "Der Zug an die Elbe fährt von Gleis sieben.",
    },
}


@pytest.fixture
def model(hub: Hub, instance: Instance, simulated: Callable[[str], None]) -> LanguageModel:
    """The one that hub.yml puts there; what answers in the lab is said."""
    simulated(images.stand_in(hub, instance.stack.name))
    (found,) = hub.served(instance)
    return found


@pytest.fixture
def embed(https: Callable[..., Any], model: LanguageModel) -> Callable[[list[str]], list[list[float]]]:
    """`embed(texts)`: their vectors, as OpenAI's clients get them."""

    def asked(texts: list[str]) -> list[list[float]]:
        answer = https("POST", "/v1/embeddings", {"model": model.weights, "input": texts})
        assert answer["model"] == model.weights
        return [one["embedding"] for one in sorted(answer["data"], key=lambda one: one["index"])]

    return asked


def test_model(https: Callable[..., Any], model: LanguageModel) -> None:
    """it has the model that hub.yml declares"""
    assert https("GET", "/info")["model_id"] == model.weights


@pytest.mark.parametrize("language", TEXTS)
def test_meaning(embed: Callable[..., Any], language: str) -> None:
    """a question is nearer to its answer than to any other text"""
    answers = sorted({text for pairs in TEXTS.values() for text in pairs.values()})
    found = embed([f"passage: {text}" for text in answers])
    for question, answer in TEXTS[language].items():
        (asked,) = embed([f"query: {question}"])
        scores = [sum(a * b for a, b in zip(asked, vector, strict=True)) for vector in found]
        assert answers[scores.index(max(scores))] == answer, question


def test_length(embed: Callable[..., Any]) -> None:
    """a text that is too long for the model is cut, not refused"""
    (vector,) = embed(["passage: The dog sleeps in the garden. " + "It rains. " * 2000])
    assert abs(sum(number * number for number in vector) - 1) < 0.01


def test_managing(https: Callable[..., Any]) -> None:
    """its door passes on nothing but what makes vectors"""
    https("GET", "/health")  # it answers, so that a refusal says something
    for path in ("/docs", "/metrics", "/v1/../docs", "/rerank"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            https("GET", path)


def test_other_zones(from_other_zones: Callable[..., list[str]]) -> None:
    """no guest of another zone reaches it"""
    assert not from_other_zones(PORT)
