"""Here the hub is the whole one, of inventory/hub.yml."""

from __future__ import annotations

import pytest

from tests.lab.cli import Cli


@pytest.fixture(scope="session")
def hub(whole_hub: Cli) -> Cli:
    """The whole hub, running and as declared."""
    return whole_hub
