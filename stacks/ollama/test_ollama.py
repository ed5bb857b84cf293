"""The language models that hub.yml declares answer, and only to their own zone."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from typing import Any

import pytest
from aihub.model.hub import LanguageModel
from aihub.model.resolved import Guest, Hub, Instance
from aihub.targets import images

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def models(hub: Hub, guest: Guest) -> dict[str, LanguageModel]:
    """The models that hub.yml puts on this guest."""
    found = {name: m for name, m in hub.models.items() if m.engine == "ollama" and m.guest == guest.name}
    if not found:
        pytest.skip("hub.yml declares no model for it")
    return found


@pytest.fixture
def small(hub: Hub, simulated: Callable[[str], None]) -> None:
    """Says which model answers in the lab."""
    simulated(images.stand_in(hub, "ollama"))


@pytest.mark.usefixtures("small")
def test_models(
    https: Callable[..., Any],
    models: dict[str, LanguageModel],
) -> None:
    """it has every model that hub.yml declares"""
    there = {model["name"] for model in https("GET", "/api/tags")["models"]}
    assert {
        m.weights if ":" in m.weights.rpartition("/")[2] else f"{m.weights}:latest" for m in models.values()
    } <= there


@pytest.mark.usefixtures("small")
def test_answer(
    https: Callable[..., Any],
    models: dict[str, LanguageModel],
) -> None:
    """every model names the capital of France"""
    for model in models.values():
        answer = https(
            "POST",
            "/api/chat",
            {
                "model": model.weights,
                "stream": False,
                "options": {"temperature": 0, "seed": 1, "num_predict": 64},
                "messages": [{"role": "user", "content": "What is the capital of France?"}],
            },
        )
        assert "Paris" in answer["message"]["content"]


@pytest.mark.usefixtures("small")
def test_context(
    https: Callable[..., Any],
    models: dict[str, LanguageModel],
) -> None:
    """a loaded model has the context that hub.yml asks for"""
    for model in models.values():
        https(
            "POST",
            "/api/generate",
            {
                "model": model.weights,
                "prompt": "Hello",
                "stream": False,
                "options": {"num_predict": 1},
            },
        )
        # By digest: two names of the same weights are loaded once.
        loaded = {m["digest"]: m["context_length"] for m in https("GET", "/api/ps")["models"]}
        digests = {m["name"]: m["digest"] for m in https("GET", "/api/tags")["models"]}
        name = model.weights if ":" in model.weights.rpartition("/")[2] else f"{model.weights}:latest"
        assert loaded[digests[name]] == max(m.context for m in models.values())


def test_on_card(https: Callable[..., Any], models: dict[str, LanguageModel], instance: Instance, hub: Hub) -> None:
    """what it has loaded lies on the card, all of it"""
    if hub.target.has_stand_ins:
        pytest.skip("lab: a simulated card, it computes on the processor")
    if not instance.has_card:
        pytest.skip("its guest has no card: it computes on the processor")
    model = next(iter(models.values()))
    https("POST", "/api/generate", {"model": model.weights, "stream": False})  # loads it and answers nothing
    loaded = {one["name"]: (one["size_vram"], one["size"]) for one in https("GET", "/api/ps")["models"]}
    assert loaded, "it has loaded none"
    assert not {name: sizes for name, sizes in loaded.items() if sizes[0] < sizes[1]}, "part of it is on the processor"


def test_other_zones(from_other_zones: Callable[..., list[str]]) -> None:
    """no guest of another zone reaches it"""
    assert not from_other_zones(11434)


@pytest.mark.parametrize("path", ["/api/create", "/api/pull", "/api/push", "/api/copy", "/api/delete", "/api/blobs/x"])
def test_managing(https: Callable[..., Any], path: str) -> None:
    """nobody in its zone can make, replace or delete a model"""
    assert "models" in https("GET", "/api/tags"), "its door leads nowhere, so that a refusal proves nothing"
    for way in (path, f"/{path}", path.replace("/api/", "/v1/../api/"), path.replace("i/", "i%2F")):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            https("POST", way, {"model": "mine", "from": "mine"})


def test_stays_here(container: Callable[[], Any]) -> None:
    """it may not send what it is asked to a remote service"""
    assert "OLLAMA_NO_CLOUD=1" in container().attrs["Config"]["Env"]
