"""The language model that hub.yml declares answers, whole and in parts, and only to its own zone."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from typing import Any

import pytest
from aihub.model.hub import LanguageModel
from aihub.model.resolved import Hub, Instance
from aihub.services import engines
from aihub.state.directory import State
from aihub.targets import images

pytestmark = pytest.mark.slow
PORT = 8008
KNOWN = 8192  # tokens of context that the lab's model knows


@pytest.fixture
def model(hub: Hub, instance: Instance, simulated: Callable[[str], None]) -> LanguageModel:
    """The one that hub.yml puts there; what answers in the lab is said."""
    simulated(images.stand_in(hub, instance.stack.name))
    (found,) = hub.served(instance)
    return found


@pytest.fixture
def chat(https: Callable[..., Any], model: LanguageModel) -> Callable[..., str]:
    """`chat(question)`: what the model answers."""

    def asked(question: str, name: str = "") -> str:
        body = {
            "model": name or model.weights,
            "temperature": 0,
            "max_tokens": 48,
            "messages": [{"role": "user", "content": question}],
        }
        return str(https("POST", "/v1/chat/completions", body)["choices"][0]["message"]["content"])

    return asked


def test_models(https: Callable[..., Any], model: LanguageModel) -> None:
    """it has the model that hub.yml declares, by its name there, and no other"""
    assert [one["id"] for one in https("GET", "/v1/models")["data"]] == [model.weights]


def test_answer(chat: Callable[..., str]) -> None:
    """the model names the capital of France"""
    assert "Paris" in chat("What is the capital of France?")


def test_given(chat: Callable[..., str]) -> None:
    """it answers from what the question tells it"""
    assert "42" in chat("The meeting is in room 42. In which room is the meeting?")


def test_parts(state: State, instance: Instance, model: LanguageModel) -> None:
    """an answer comes in parts, as it is made"""
    assert engines.measure(state, instance, model, 8).parts > 1


def test_other_model(chat: Callable[..., str]) -> None:
    """a model that it does not serve is refused"""
    assert chat("Hello")  # the one that it serves answers
    with pytest.raises(urllib.error.HTTPError, match="404"):
        chat("Hello", "another/model")


def test_context(https: Callable[..., Any], model: LanguageModel, hub: Hub) -> None:
    """it takes as many tokens as hub.yml says, and no more than that"""
    wanted = min(model.context, KNOWN) if hub.target.has_stand_ins else model.context
    (found,) = https("GET", "/v1/models")["data"]
    assert found["max_model_len"] == wanted
    long = {"model": model.weights, "max_tokens": 1, "prompt": "word " * (wanted + 300)}
    with pytest.raises(urllib.error.HTTPError, match="400"):
        https("POST", "/v1/completions", long)


def test_managing(https: Callable[..., Any]) -> None:
    """its door passes on nothing but what uses the model"""
    https("GET", "/health")  # it answers, so that a refusal says something
    for path in ("/metrics", "/v1/../metrics", "/sleep", "/reset_prefix_cache", "/docs"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            https("GET", path)


def test_tells_nobody(container: Callable[[], Any]) -> None:
    """it sends nobody what it runs"""
    assert "VLLM_NO_USAGE_STATS=1" in container().attrs["Config"]["Env"]


def test_other_zones(from_other_zones: Callable[..., list[str]]) -> None:
    """no guest of another zone reaches it"""
    assert not from_other_zones(PORT)
