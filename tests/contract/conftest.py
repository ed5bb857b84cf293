"""A Proxmox without guests' processes for a file of tests, and a small hub on it for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.provision_lab import Hub, Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The Proxmox, its root, and the driver that runs aihub."""
    found = Lab()
    yield found
    found.close()


@pytest.fixture
def fresh(lab: Lab) -> Iterator[Hub]:
    """A small hub of which nothing is there yet, gone again afterwards whatever happened."""
    yield lab.hub("hub")
    lab.root.sweep()


@pytest.fixture
def hub(fresh: Hub) -> Hub:
    """A small hub that is up, and gone again afterwards."""
    fresh.ok("up")
    return fresh
