"""Chroma keeps vectors and finds them again."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import Any

import pytest

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


@pytest.fixture(scope="session")
def call(forward: Callable[[int], int]) -> Callable[..., Any]:
    """`call(method, path, body)`: the JSON that Chroma answers."""

    def ask(method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{forward(8000)}{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    return ask


@pytest.fixture
def collection(call: Callable[..., Any]) -> Iterator[str]:
    """The path of a collection that exists for one check."""
    name = f"verify-{token_hex(8)}"
    made = call("POST", COLLECTIONS, {"name": name})
    yield f"{COLLECTIONS}/{made['id']}"
    call("DELETE", f"{COLLECTIONS}/{name}")


def test_heartbeat(call: Callable[..., Any]) -> None:
    """its API answers"""
    assert call("GET", "/api/v2/heartbeat")["nanosecond heartbeat"] > 0


def test_query(call: Callable[..., Any], collection: str) -> None:
    """a query finds the nearest of the inserted vectors, with its document"""
    call(
        "POST",
        f"{collection}/add",
        {
            "ids": ["north", "east", "north-east"],
            "embeddings": [[0.0, 1.0], [1.0, 0.0], [0.7, 0.7]],
            "documents": ["up", "right", "both"],
        },
    )
    assert call("GET", f"{collection}/count") == 3
    question = {
        "query_embeddings": [[0.1, 0.9]],
        "n_results": 2,
        "include": ["documents", "distances"],
    }
    found = call("POST", f"{collection}/query", question)
    assert found["ids"] == [["north", "north-east"]]
    assert found["documents"] == [["up", "both"]]


def test_reset(call: Callable[..., Any]) -> None:
    """nobody can wipe it through its API"""
    with pytest.raises(urllib.error.HTTPError) as refused:
        call("POST", "/api/v2/reset")
    refused.value.close()  # the error is the open answer
    assert refused.value.code in (403, 405)
