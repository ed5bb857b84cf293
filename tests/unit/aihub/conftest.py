"""What several tests of aihub start from."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.unit.aihub.running import Runs


@pytest.fixture
def runs() -> Iterator[Runs]:
    """Runs of this test; nothing of them is left after it."""
    made = Runs()
    yield made
    for pid in made.alive():
        os.kill(pid, signal.SIGKILL)
