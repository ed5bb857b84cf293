"""The lease's scripts, run here instead of on a node."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from aihub.errors import Locked
from aihub.ssh import connection as ssh
from aihub.ssh import lease
from aihub.state.directory import State

from tests.unit.aihub.hubs import small


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def run(state, alias, command, **_):
        return subprocess.run(command, capture_output=True, check=False)

    monkeypatch.setattr(ssh, "run", run)
    monkeypatch.setattr(lease, "_path", lambda hub: str(tmp_path / f"{hub.id}.lease"))
    return tmp_path / "0123456789abcdef.lease"


MINE, THEIRS = State(Path("/a")), State(Path("/b"))


def test_another_machine_is_held_off_and_told_who_holds_it():
    lease.take_lease(small(), MINE, "aihub up (pid 1 of me@here)")
    with pytest.raises(Locked, match="pid 1 of me@here"):
        lease.take_lease(small(), THEIRS, "other")
    lease.release_lease(small(), MINE)
    lease.take_lease(small(), THEIRS, "other")


def test_a_dead_run_of_this_machine_is_taken_over():
    lease.take_lease(small(), MINE, "first")
    lease.take_lease(small(), MINE, "second")


def test_an_ended_lease_holds_nobody_off():
    lease.take_lease(small(), MINE, "first", ttl=-1)
    lease.take_lease(small(), THEIRS, "second")


def test_only_its_own_lease_is_given_back(here):
    lease.take_lease(small(), MINE, "first")
    lease.release_lease(small(), THEIRS)
    assert here.exists()


def test_two_hubs_on_a_node_do_not_meet():
    lease.take_lease(small(), MINE, "first")
    lease.take_lease(replace(small(), id="f" * 16), THEIRS, "second")
