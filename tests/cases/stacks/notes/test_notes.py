"""The notes of the small hub answer with what they were given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_answer(https: Callable[..., Any]) -> None:
    """it answers through its guest's door, and has its secret and its data"""
    found = https("GET", "/")
    assert found["api_key"] == "48"
    assert int(found["starts"]) >= 1
