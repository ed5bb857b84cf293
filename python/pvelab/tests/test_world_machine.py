"""What keeps a lab's guests apart from the machine that it runs on, and from whoever else works there."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pvelab.world import lab, monitors, mounts, process
from pvelab.world.errors import LabError
from pvelab.world.lab import Lab
from pvelab.world.process import Process, wait_for

root = pytest.mark.skipif(os.geteuid() != 0, reason="looks for processes of root")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours."""
    held = subprocess.Popen(["sleep", "60"])
    yield held
    held.kill()
    held.wait()


def test_a_folder_that_others_could_pass_is_closed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o755)
    for folder in (kept, tmp_path / "fresh"):
        assert lab.private(folder).stat().st_mode & 0o777 == 0o700


def test_a_signal_reaches_the_process_that_was_listed_and_no_other(sleeper: subprocess.Popen[bytes]) -> None:
    one = Process.of(sleeper.pid)
    assert one is not None
    Process(one.pid, "1").signal(signal.SIGKILL)  # its pid is another's by now
    assert not wait_for(lambda: sleeper.poll() is not None, 0.1)
    one.signal(signal.SIGKILL)
    assert sleeper.wait(5) == -signal.SIGKILL
    assert not one.runs
    one.signal(signal.SIGKILL)


def test_what_is_remembered_of_another_process_is_nothing(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    file = tmp_path / "pid"
    process.remember(file, sleeper.pid)
    assert process.remembered(file) == Process.of(sleeper.pid)
    file.write_text(f"{sleeper.pid} 1\n")
    assert process.remembered(file) is None


def test_mounts_are_read_as_the_kernel_writes_them() -> None:
    line = r"976 27 254:0 /x /var/lib/a\040b rw,nosuid,nodev,relatime shared:1 - ext4 /dev/vda rw"
    assert mounts.mounted(f"{line}\n") == ["/var/lib/a b"]


@root
def test_containers_are_found_and_ended_whatever_became_of_the_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "STATES", tmp_path / "states")
    monkeypatch.setattr(lab, "RUNTIME", tmp_path / "run")
    mine, other = Lab("a"), Lab("b")
    title = f"[lxc monitor] {mine.seen} 110"
    # What lxc does: a process with that title, and the container's init as its child.
    held = subprocess.Popen(["perl", "-e", '$0 = shift; system("sleep", "60")', title])
    try:
        # For a moment, until it is `sleep`, the child has the title too.
        assert wait_for(lambda: [len(one.inits) for one in monitors.of(mine)] == [1], 5)
        (found,) = monitors.of(mine)
        assert (found.name, found.process.pid) == ("110", held.pid)
        assert monitors.of(other) == []
        with pytest.raises(LabError, match="lost its name: 110 of lab a"):
            monitors.refuse_strays(mine)
        assert monitors.end_all(mine) == ["110"]
        assert not found.inits[0].runs
        assert held.wait(5) is not None
        monitors.refuse_strays(mine)
    finally:
        held.kill()
        held.wait()
