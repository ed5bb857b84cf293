"""Here the hub is the small one: what is edited, killed, broken and rotated, is so on its two guests."""

from __future__ import annotations

import pytest

from tests.lab.cli import Cli


@pytest.fixture(scope="session")
def hub(small_hub: Cli) -> Cli:
    """The small hub, running and as declared."""
    return small_hub
