"""The client of the small hub got in, and was never refused since."""

from __future__ import annotations

from collections.abc import Callable


def test_logins(execute: Callable[..., str]) -> None:
    """it logs in, and no login was refused since it first got in"""
    works, refused = map(int, execute("client", "cat", "/run/canary/count").split()[:2])
    assert works > 0
    assert refused == 0
