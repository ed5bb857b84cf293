"""The client of the small hub got in, and was never refused since."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_logins(container: Callable[..., Any]) -> None:
    """it logs in, and no login was refused since it first got in"""
    code, output = container().exec_run(["cat", "/run/canary/count"])
    assert code == 0, output.decode(errors="replace")
    works, refused = map(int, output.split()[:2])
    assert works > 0
    assert refused == 0
