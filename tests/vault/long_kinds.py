"""Each of the four strategies, killed at each write: before it, while it is answered, and after it."""

from __future__ import annotations

import pytest

from .kinds_world import ADMINS, CONSUMED, Kinds
from .rotation_client import Driver, everywhere, kill
from .test_kinds import within_limits

__all__ = ["within_limits"]


@pytest.mark.parametrize("name", [*CONSUMED, *ADMINS])
def test_killed_at_each_place_the_next_run_finishes(kinds: Kinds, runs: Driver, name: str) -> None:
    for where in everywhere(runs, name):
        assert kill(kinds, runs, name, where)[1] == []
    assert kinds.accepted(name, kinds.retired[name]) == []
