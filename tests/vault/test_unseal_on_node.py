"""The node's own program: a vault that is found sealed is open a moment later, and shares go to nobody else."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from metal import unseal_on_node

from . import local_vault
from .local_vault import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server that keeps its data when it stops."""
    with local_vault.served(tmp_path, storage="raft") as server:
        yield server


@pytest.fixture
def node(fresh: Server, tmp_path: Path) -> Iterator[list[str]]:
    """What the unit starts, with the shares where systemd would put them."""
    fresh.bring_up().close()
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "shares").write_text("\n".join(fresh.node_shares()) + "\n")
    yield [sys.executable, unseal_on_node.__file__, "127.0.0.1", str(fresh.port), fresh.name, str(fresh.state.ca)]


def run(argv: list[str], home: Path, seconds: float) -> str:
    """What it says in so many seconds."""
    environment = {"CREDENTIALS_DIRECTORY": str(home / "credentials")}
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(seconds)
    process.terminate()
    return process.communicate(timeout=5)[0].decode()


def test_a_vault_that_starts_sealed_is_open_a_moment_later(fresh: Server, node: list[str], tmp_path: Path) -> None:
    fresh.stop()
    fresh.start()
    vault = fresh.vault()
    assert vault.health().sealed
    said = run(node, tmp_path, 3)
    assert "unsealed" in said
    assert not vault.health().sealed
    assert not [share for share in fresh.node_shares() if share in said]
    vault.close()


def test_shares_go_to_nobody_with_another_certificate(fresh: Server, node: list[str], tmp_path: Path) -> None:
    node[4] = "other.small.home.arpa"
    said = run(node, tmp_path, 2)
    assert "no answer" in said
    assert "unsealed" not in said


def test_shares_of_another_vault_are_named(fresh: Server, node: list[str], tmp_path: Path) -> None:
    fresh.stop()
    fresh.start()
    vault = fresh.vault()
    (tmp_path / "credentials" / "shares").write_text("\n".join(reversed(fresh.node_shares()[:2])) + "\n")
    said = run(node, tmp_path, 2)
    assert "aihub secrets unseal" in said
    assert vault.health().sealed
    vault.close()
