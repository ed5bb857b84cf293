"""The two hubs that run while tests look at them, attack and edit them: each is brought up once in a run of pytest.

A folder of tests says by its conftest which of them is its `hub`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aihub.checks.context import Context
from aihub.model.resolved import Hub

from tests.lab.cli import ROOT, Api, Cli, told

TESTS = ROOT / "tests"
ON_A_LAB = (TESTS / "lab", TESTS / "attacks" / "whole", TESTS / "attacks" / "small")
CASES = TESTS / "cases" / "stacks"
SERVICES = ("vault", "redis", "restic-server")  # of the small hub; they are the real ones
OWN = ("client", "cruncher", "notes", "wrecked")  # stacks that start in two seconds


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs on a lab is marked so, and what takes a hub away comes last, wherever it stands."""
    for item in items:
        if any(folder in item.path.parents for folder in ON_A_LAB):
            item.add_marker(pytest.mark.lab)
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def lab_name() -> str:
    """Names of labs of this run begin so. Fails without root: the guests are real."""
    if os.geteuid() != 0:
        pytest.fail("the lab tests make real guests: run `make test` as root, or `make check` without", pytrace=False)
    return os.environ.get("AIHUB_LAB") or f"test-{os.getpid()}"


@pytest.fixture(scope="session")
def whole(lab_name: str, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The whole hub of inventory/hub.yml, up or not, in a lab of this run's own."""
    return Cli(ROOT / "inventory" / "hub.yml", lab_name, tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def first_up(whole: Cli) -> Iterator[subprocess.CompletedProcess[str]]:
    """The first `aihub up` of the whole hub; whatever happens in the tests, its lab is removed at the end."""
    try:
        yield whole("up", timeout=1800)
    finally:
        whole("down", "--yes", timeout=300)


@pytest.fixture(scope="session")
def whole_hub(whole: Cli, first_up: subprocess.CompletedProcess[str]) -> Cli:
    """The whole hub, running and converged."""
    assert first_up.returncode == 0, told("up", first_up)
    return whole


def written(folder: Path) -> Cli:
    """The small hub's file and its stacks, as files that a test may edit."""
    stacks = folder / "stacks"
    for source in (*(ROOT / "stacks" / name for name in SERVICES), *(CASES / name for name in OWN)):
        shutil.copytree(source, stacks / source.name)
    (stacks / "client" / "config").mkdir(exist_ok=True)
    for name in ("watch.sh", "healthy.sh"):
        shutil.copy(ROOT / "stacks" / "canary" / "config" / name, stacks / "client" / "config")
    shutil.copy(TESTS / "lab" / "small" / "hub.yml", folder)
    return Cli(folder / "hub.yml", "", folder / "state", {"AIHUB_STACKS": str(stacks)})


@pytest.fixture(scope="session")
def small(lab_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The small hub of two guests, up or not; whatever happens in the tests, its lab is removed at the end."""
    cli = written(tmp_path_factory.mktemp("small"))
    cli.lab = f"{lab_name}-s"
    try:
        yield cli
    finally:
        cli("down", "--yes", timeout=300)


@pytest.fixture(scope="session")
def small_hub(small: Cli) -> Cli:
    """The small hub, running; where the tests of killed runs went before, it does already."""
    small.ok("up", "--no-verify")
    return small


@pytest.fixture
def api(hub: Cli) -> Api:
    """The node's API, as root."""
    return Api(hub)


@pytest.fixture
def inside(hub: Cli) -> Iterator[Context]:
    """The running hub as its checks see it: its vault, its shells, its state."""
    with hub.opened() as context:
        yield context


@pytest.fixture
def resolved(inside: Context) -> Hub:
    """What follows from the hub file."""
    return inside.hub
