"""The whole hub of inventory/hub.yml, brought up once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from aihub.checks.context import Context
from aihub.model.resolved import Hub

from tests.lab.cli import ROOT, Api, Cli


@pytest.fixture(scope="session")
def cli(lab_name: str, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The whole hub in a lab of this run's own."""
    return Cli(ROOT / "inventory" / "hub.yml", lab_name, tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def first_up(cli: Cli) -> Iterator[subprocess.CompletedProcess[str]]:
    """The first `aihub up`; whatever happens in the tests, the lab is removed at the end."""
    try:
        yield cli("up", timeout=1800)
    finally:
        cli("down", "--yes", timeout=300)


@pytest.fixture(scope="session")
def hub(cli: Cli, first_up: subprocess.CompletedProcess[str]) -> Cli:
    """A running, converged hub."""
    assert first_up.returncode == 0, (
        f"up ended with {first_up.returncode}\n{first_up.stdout[-8000:]}\n{first_up.stderr[-8000:]}"
    )
    return cli


@pytest.fixture
def api(hub: Cli) -> Api:
    return Api(hub)


@pytest.fixture
def inside(hub: Cli) -> Iterator[Context]:
    """The running hub as the checks see it: its vault, its shells, its state."""
    with hub.opened() as context:
        yield context


@pytest.fixture
def resolved(inside: Context) -> Hub:
    """What follows from the hub file."""
    return inside.hub
