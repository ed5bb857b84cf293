"""Real OpenBao servers on loopback: `fresh` (not initialised, one a test) and `up` (brought up, one a module)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aihub.services import service as services
from aihub.vault.client import Vault

from . import kinds_world, local_vault, rotation_world
from .kinds_world import Kinds
from .local_vault import Server
from .rotation_client import Driver, driven
from .rotation_world import World


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server that runs and is not initialised, with a state directory of its own."""
    with local_vault.served(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is brought up; tests of one module share it and leave it as they found it."""
    with local_vault.served(tmp_path_factory.mktemp("vault")) as server:
        server.bring_up().close()
        yield server


@pytest.fixture
def vault(up: Server) -> Iterator[Vault]:
    """The shared server as aihub's operator sees it."""
    from aihub.vault.client import operator

    found = up.vault()
    found.login(*operator(up.state))
    yield found
    found.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Vault, services, agents and probers; see rotation_world."""
    with rotation_world.built() as found:
        yield found


@pytest.fixture(scope="module")
def driver(world: World) -> Iterator[Driver]:
    """Runs rotations in that world, and may kill them."""
    with driven(world) as found:
        yield found


@pytest.fixture(scope="module")
def kinds() -> Iterator[Kinds]:
    """Vault, providers of four unheard-of kinds, agents and probers; see kinds_world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "STACKS", kinds_world.STACKS)
        with rotation_world.built(Kinds, local_vault.small_hub("kinds.yml")) as found:
            assert isinstance(found, Kinds)
            yield found


@pytest.fixture(scope="module")
def runs(kinds: Kinds) -> Iterator[Driver]:
    """Runs rotations in the world of kinds, and may kill them."""
    with driven(kinds) as found:
        yield found
