"""Models answer through the gateway, to who has a key, and to nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aihub.model.hub import LanguageModel
from aihub.model.resolved import Guest, Hub, Instance
from aihub.targets import images

pytestmark = pytest.mark.slow

PORT = 4000
ANSWER = "Oslo"
QUESTION = [{"role": "user", "content": f"Context: Anna lives in {ANSWER}.\nQuestion: Where does Anna live?"}]


@pytest.fixture(scope="session")
def models(hub: Hub, instance: Instance) -> dict[str, LanguageModel]:
    """The models of the engines in its zone."""
    found = {name: model for engine in hub.engines(instance) for name, model in engine.models.items()}
    if not found:
        pytest.skip("hub.yml declares no model for an engine of its zone")
    return found


@pytest.fixture
def chats(hub: Hub, models: dict[str, LanguageModel], simulated: Callable[[str], None]) -> list[str]:
    """Those that answer; says which model does so in the lab."""
    found = {name: model for name, model in models.items() if model.use == "chat"}
    for stand_in in sorted({images.stand_in(hub, model.engine) for model in found.values()} - {""}):
        simulated(stand_in)
    return list(found)


@pytest.fixture(scope="session")
def gateway(relay: Callable[[int], Path], guest: Guest) -> Iterator[httpx.Client]:
    """A client of its door."""
    way = httpx.HTTPTransport(uds=str(relay(PORT)))
    with httpx.Client(transport=way, base_url=f"http://{guest.fqdn}:{PORT}", trust_env=False, timeout=300) as client:
        yield client


@pytest.fixture(scope="session")
def key(secret: Callable[[str], str]) -> dict[str, str]:
    """What the checks log in with, as a header."""
    return bearer(secret("verify_a"))


def bearer(password: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-{password}"}


def asked(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": QUESTION, "temperature": 0, "seed": 1, "max_tokens": 32, **more}


def test_models(
    gateway: httpx.Client, key: dict[str, str], models: dict[str, LanguageModel], hub: Hub, instance: Instance
) -> None:
    """it offers every model of its zone's engines and every route between them by its name in hub.yml, and no other"""
    told = gateway.get("/v1/models", headers=key).raise_for_status().json()
    assert {one["id"] for one in told["data"]} == {*models, *hub.routes(instance)}


def test_context(gateway: httpx.Client, key: dict[str, str], chats: list[str], hub: Hub, instance: Instance) -> None:
    """every model, and every route between some, answers from a fact that it is given"""
    routes = [name for name, shares in hub.routes(instance).items() if set(shares) <= set(chats)]
    for name in (*chats, *routes):
        told = gateway.post("/v1/chat/completions", headers=key, json=asked(name)).raise_for_status().json()
        assert ANSWER in told["choices"][0]["message"]["content"]


def test_stream(gateway: httpx.Client, key: dict[str, str], chats: list[str]) -> None:
    """an answer comes word by word"""
    for name in chats:
        with gateway.stream("POST", "/v1/chat/completions", headers=key, json=asked(name, stream=True)) as told:
            told.raise_for_status()
            data = [line.removeprefix("data: ") for line in told.iter_lines() if line.startswith("data: ")]
        assert data[-1] == "[DONE]"
        words = [json.loads(one)["choices"][0]["delta"].get("content") for one in data[:-1]]
        assert len([word for word in words if word]) > 1
        assert ANSWER in "".join(word or "" for word in words)


def test_both_keys(gateway: httpx.Client, secret: Callable[[str], str]) -> None:
    """both keys of a consumer open it, so that one can be replaced while the other is in use"""
    for half in ("verify_a", "verify_b"):
        gateway.get("/v1/models", headers=bearer(secret(half))).raise_for_status()


@pytest.mark.parametrize("headers", [{}, bearer("0" * 40)], ids=["no", "another"])
def test_key(gateway: httpx.Client, key: dict[str, str], headers: dict[str, str]) -> None:
    """nobody gets an answer without a key, or with one that nobody made"""
    gateway.get("/v1/models", headers=key).raise_for_status()
    for told in (
        gateway.get("/v1/models", headers=headers),
        gateway.post("/v1/chat/completions", headers=headers, json=asked("any")),
    ):
        assert told.status_code == 401


@pytest.mark.parametrize("path", ["/key/generate", "/key/list", "/team/list", "/model/info", "/health", "/ui/", "/"])
def test_managing(gateway: httpx.Client, key: dict[str, str], path: str) -> None:
    """its door leads to models and not to keys, teams or settings"""
    gateway.get("/v1/models", headers=key).raise_for_status()
    for way in (path, f"/{path}", f"/v1/..{path}", f"/v1/%2e%2e{path}"):
        assert gateway.get(way, headers=key).status_code == 403


def test_key_manages_nothing(forward: Callable[..., int], key: dict[str, str]) -> None:
    """a consumer's key opens no list of keys, not even behind the door"""
    with httpx.Client(base_url=f"http://127.0.0.1:{forward(PORT, '127.0.0.1')}", trust_env=False) as inside:
        inside.get("/v1/models", headers=key).raise_for_status()
        assert inside.get("/key/list", headers=key).status_code == 403


def test_other_zones(from_other_zones: Callable[..., list[str]]) -> None:
    """no guest of another zone reaches it"""
    assert not from_other_zones(PORT)
