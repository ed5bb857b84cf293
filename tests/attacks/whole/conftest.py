"""Here the hub is the whole one; each attack leaves it as it found it."""

from __future__ import annotations

import pytest

from tests.lab.cli import Cli


@pytest.fixture(scope="session")
def hub(whole_hub: Cli) -> Cli:
    """The whole hub, running and as declared."""
    return whole_hub
