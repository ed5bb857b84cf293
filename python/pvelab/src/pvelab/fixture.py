"""The pytest fixture `pvelab`: a fresh Proxmox VE API for a run of tests, its guests without a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .running import Running, running


@pytest.fixture(scope="session")
def pvelab() -> Iterator[Running]:
    """One node for all tests, with the token `root@pam!test`, a container template and a disk image."""
    with running() as found:
        yield found
