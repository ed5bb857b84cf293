"""Qdrant keeps vectors and finds them again, for who has a token."""

from __future__ import annotations

import base64
import json
import urllib.error
from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import Any

import pytest
from aihub.model.resolved import Guest, Hub

CITIES = {1: ("north", [0.0, 1.0]), 2: ("east", [1.0, 0.0]), 3: ("north-east", [0.7, 0.7])}


@pytest.fixture
def ask(https: Callable[..., Any], secret: Callable[[str], str]) -> Callable[..., Any]:
    """`ask(method, path, body)`: what Qdrant answers to the checks' own token, or another."""

    def asked(method: str, path: str, body: object = None, key: str = "") -> Any:
        return https(method, path, body, {"api-key": key or secret("verify_a")})["result"]

    return asked


@pytest.fixture
def collection(ask: Callable[..., Any]) -> Iterator[str]:
    """The path of a collection with three points that exists for one check."""
    path = f"/collections/verify-{token_hex(8)}"
    assert ask("PUT", path, {"vectors": {"size": 2, "distance": "Cosine"}})
    points = [{"id": key, "vector": vector, "payload": {"name": name}} for key, (name, vector) in CITIES.items()]
    assert ask("PUT", f"{path}/points?wait=true", {"points": points})["status"] == "completed"
    yield path
    ask("DELETE", path)


def test_query(ask: Callable[..., Any], collection: str) -> None:
    """a query finds the nearest of the inserted vectors, with its payload"""
    found = ask("POST", f"{collection}/points/query", {"query": [0.1, 0.9], "limit": 2, "with_payload": True})
    assert [one["payload"]["name"] for one in found["points"]] == ["north", "north-east"]


def test_filter(ask: Callable[..., Any], collection: str) -> None:
    """a filter on the payload leaves out what is nearer"""
    wanted = {"must": [{"key": "name", "match": {"any": ["east", "north-east"]}}]}
    found = ask("POST", f"{collection}/points/query", {"query": [0.1, 0.9], "limit": 1, "filter": wanted})
    assert [one["id"] for one in found["points"]] == [3]


def test_delete(ask: Callable[..., Any], collection: str) -> None:
    """a deleted point is found no more"""
    ask("POST", f"{collection}/points/delete?wait=true", {"points": [1]})
    assert ask("POST", f"{collection}/points/count", {"exact": True})["count"] == 2
    found = ask("POST", f"{collection}/points/query", {"query": [0.1, 0.9], "limit": 3})
    assert 1 not in [one["id"] for one in found["points"]]


@pytest.mark.parametrize("half", ["a", "b"])
def test_tokens(ask: Callable[..., Any], secret: Callable[[str], str], half: str) -> None:
    """either token of a consumer opens it"""
    assert isinstance(ask("GET", "/collections", key=secret(f"verify_{half}"))["collections"], list)


def test_strangers(https: Callable[..., Any], secret: Callable[[str], str]) -> None:
    """no key, a wrong one, a token of another's making and one that nobody signed are refused"""
    header, claims, signature = secret("verify_a").split(".")
    read = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    del read["value_exists"]
    other = base64.urlsafe_b64encode(json.dumps(read).encode()).rstrip(b"=").decode()
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for key in ("", "not-the-key", f"{header}.{other}.{signature}", f"{unsigned}.{other}."):
        with pytest.raises(urllib.error.HTTPError) as refused:
            https("GET", "/collections", None, {"api-key": key} if key else {})
        refused.value.close()  # the error is the open answer
        assert refused.value.code in (401, 403)


def test_other_zones(hub: Hub, guest: Guest, from_other_zones: Callable[..., list[str]]) -> None:
    """no guest of another zone reaches it unless it needs it"""
    needed = {hub.instance(one.consumer).guest.name for one in hub.consumers if one.provider == f"qdrant@{guest.name}"
              and one.consumer in {i.name for i in hub.instances}}  # fmt: skip
    assert not from_other_zones(6333, besides=needed)
