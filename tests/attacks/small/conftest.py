"""Here the hub is the small one of two guests."""

from __future__ import annotations

import pytest

from tests.lab.cli import Cli


@pytest.fixture(scope="session")
def hub(small_hub: Cli) -> Cli:
    """The small hub, running and as declared."""
    return small_hub
