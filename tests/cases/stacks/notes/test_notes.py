"""The notes of the small hub answer with what they were given."""

from __future__ import annotations

import socket
from collections.abc import Callable


def test_answer(forward: Callable[[int], int]) -> None:
    """it answers, and has its secret and its data"""
    with socket.create_connection(("127.0.0.1", forward(8080)), 10) as link:
        answer = link.makefile().readline()
    found = dict(pair.split("=") for pair in answer.split())
    assert found["api_key"] == "48"
    assert int(found["starts"]) >= 1
