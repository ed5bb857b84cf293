"""Chroma keeps vectors and finds them again."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import Any

import pytest

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


@pytest.fixture
def collection(https: Callable[..., Any]) -> Iterator[str]:
    """The path of a collection that exists for one check."""
    name = f"verify-{token_hex(8)}"
    made = https("POST", COLLECTIONS, {"name": name})
    yield f"{COLLECTIONS}/{made['id']}"
    https("DELETE", f"{COLLECTIONS}/{name}")


def test_heartbeat(https: Callable[..., Any]) -> None:
    """its API answers"""
    assert https("GET", "/api/v2/heartbeat")["nanosecond heartbeat"] > 0


def test_query(https: Callable[..., Any], collection: str) -> None:
    """a query finds the nearest of the inserted vectors, with its document"""
    https(
        "POST",
        f"{collection}/add",
        {
            "ids": ["north", "east", "north-east"],
            "embeddings": [[0.0, 1.0], [1.0, 0.0], [0.7, 0.7]],
            "documents": ["up", "right", "both"],
        },
    )
    assert https("GET", f"{collection}/count") == 3
    question = {
        "query_embeddings": [[0.1, 0.9]],
        "n_results": 2,
        "include": ["documents", "distances"],
    }
    found = https("POST", f"{collection}/query", question)
    assert found["ids"] == [["north", "north-east"]]
    assert found["documents"] == [["up", "both"]]


def test_reset(https: Callable[..., Any]) -> None:
    """nobody can wipe it through its API"""
    with pytest.raises(urllib.error.HTTPError) as refused:
        https("POST", "/api/v2/reset")
    refused.value.close()  # the error is the open answer
    assert refused.value.code in (403, 405)
