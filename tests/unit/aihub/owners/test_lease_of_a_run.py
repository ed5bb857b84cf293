"""A run takes the lease in its verb's name and begins nothing more once it is lost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from aihub import report, targets
from aihub.errors import Locked
from aihub.options import Options
from aihub.owners.run import Run, perform, take_lease
from aihub.ssh import connection, lease
from aihub.state.directory import State

from tests.unit.aihub.hubs import small


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the lease lies; its scripts run here instead of on a node."""

    def run_here(_state: State, _alias: str, command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, capture_output=True, check=False)

    monkeypatch.setattr(connection, "run", run_here)
    monkeypatch.setattr(lease, "_path", lambda hub: str(tmp_path / "lease"))
    return tmp_path / "lease"


@pytest.fixture
def run(tmp_path: Path, file: Path) -> Iterator[Run]:
    with ExitStack() as stack:
        hub, options = small(), Options()
        yield Run(
            options, hub, State(tmp_path / "state"), targets.chosen(options, hub), report, stack, "secrets rotate"
        )
    assert not file.exists() or "you@there" in file.read_text()


def test_the_holder_is_named_by_the_verb(run: Run, file: Path) -> None:
    perform(run, (take_lease,))
    assert " aihub secrets rotate (pid " in file.read_text()


def test_a_run_that_asks_twice_takes_it_once(run: Run, file: Path) -> None:
    perform(run, (take_lease,))
    held = run.lease
    perform(run, (take_lease,))
    assert run.lease is held


def test_no_step_begins_after_the_lease_was_lost(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def robbed(_: Run) -> None:
        done.append("first")
        file.write_text(f"{int(time.time()) + 300} other:1 aihub up (pid 7 of you@there)\n")
        monkeypatch.setattr(lease, "clock", lambda: time.clock_gettime(time.CLOCK_BOOTTIME) + 3600)

    with pytest.raises(Locked, match="pid 7 of you@there"):
        perform(run, (take_lease, robbed, lambda _: done.append("second")))
    assert done == ["first"]
