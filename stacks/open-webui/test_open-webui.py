"""People talk to the models of their zone through the page, and get answers out of their documents."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aihub.model.resolved import Guest, Hub


@pytest.fixture(scope="session")
def models(hub: Hub, guest: Guest) -> Mapping[str, str]:
    """The models of its zone, each with what it is for."""
    zone = {name: one.use for name, one in hub.models.items() if hub.guests[one.guest].zone == guest.zone}
    if "chat" not in zone.values():
        pytest.skip("hub.yml declares no model for chat in its zone")
    return zone


@pytest.fixture
def page(execute: Callable[..., str]) -> Callable[..., Any]:
    """`page(what, ...)`: what config/check.py prints."""
    return lambda *words: json.loads(execute("open-webui", "python3", "/etc/open-webui/check.py", *words))


def first(models: Mapping[str, str], use: str) -> str:
    return next(name for name, what in models.items() if what == use)


def test_page(https: Callable[..., Any]) -> None:
    """the page answers behind its door, and lets nobody make an account"""
    told = https("GET", "/api/config")
    assert told["features"]["auth"] is True
    assert not told["features"].get("enable_signup")


def test_strangers(https: Callable[..., Any]) -> None:
    """who is not signed in gets neither a model nor a document"""
    assert https("GET", "/health")["status"] is True, "its door leads nowhere, so that a refusal proves nothing"
    for path in ("/api/models", "/api/v1/knowledge/", "/api/v1/files/"):
        with pytest.raises(urllib.error.HTTPError, match=r"40[13]"):
            https("GET", path)


def test_models(page: Callable[..., Any], models: Mapping[str, str]) -> None:
    """it offers every model of its zone that hub.yml declares"""
    assert set(models) <= set(page("models"))


@pytest.mark.slow
def test_chat(page: Callable[..., Any], models: Mapping[str, str]) -> None:
    """a model answers from a fact that the question holds"""
    assert "4711" in page("chat", first(models, "chat"))


@pytest.mark.slow
def test_documents(page: Callable[..., Any], models: Mapping[str, str]) -> None:
    """an uploaded document is found by its meaning, in English and German, and cited by an answer"""
    if "embedding" not in models.values():
        pytest.skip("hub.yml declares no model for embeddings in its zone")
    told = page("documents", first(models, "chat"))
    assert told["found"] == {
        "Where does the pet spend wet nights?": "garage.txt",
        "How do I get my data back after a crash?": "dump.txt",
        "How much vacation do workers have?": "urlaub.txt",
    }
    assert "garage.txt" in told["cited"]


def test_stays_here(container: Callable[[], Any]) -> None:
    """it looks nothing up elsewhere"""
    assert {"OFFLINE_MODE=true", "ANONYMIZED_TELEMETRY=false"} <= set(container().attrs["Config"]["Env"])
