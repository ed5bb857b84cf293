"""A hub of two guests beside the whole one: what is edited, killed, broken and rotated, is so here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from aihub.checks.context import Context
from aihub.model.resolved import Hub

from tests.lab.cli import ROOT, Api, Cli

HERE = Path(__file__).parent
CASES = ROOT / "tests" / "cases" / "stacks"
OWN = ("client", "notes", "wrecked")


def written(folder: Path) -> Cli:
    """The hub file and its stacks, as files that a test may edit; the services that it needs are the real ones."""
    stacks = folder / "stacks"
    for source in (ROOT / "stacks" / "vault", ROOT / "stacks" / "redis", *(CASES / name for name in OWN)):
        shutil.copytree(source, stacks / source.name)
    (stacks / "client" / "config").mkdir(exist_ok=True)
    for name in ("watch.sh", "healthy.sh"):
        shutil.copy(ROOT / "stacks" / "canary" / "config" / name, stacks / "client" / "config")
    shutil.copy(HERE / "hub.yml", folder)
    return Cli(folder / "hub.yml", "", folder / "state", {"AIHUB_STACKS": str(stacks)})


@pytest.fixture(scope="session")
def small(lab_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The small hub, up or not; whatever happens in the tests, its lab is removed at the end."""
    cli = written(tmp_path_factory.mktemp("small"))
    cli.lab = f"{lab_name}-s"
    try:
        yield cli
    finally:
        cli("down", "--yes", timeout=300)


@pytest.fixture(scope="session")
def converged(small: Cli) -> None:
    """It runs; where the tests of killed runs went before, it does already."""
    small.ok("up", "--no-verify")


@pytest.fixture
def hub(small: Cli, converged: None) -> Cli:
    """The small hub, running and as declared."""
    return small


@pytest.fixture
def api(hub: Cli) -> Api:
    return Api(hub)


@pytest.fixture
def inside(hub: Cli) -> Iterator[Context]:
    """The running hub as its checks see it."""
    with hub.opened() as context:
        yield context


@pytest.fixture
def resolved(inside: Context) -> Hub:
    """What follows from the hub file."""
    return inside.hub
