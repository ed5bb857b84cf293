"""What keeps a lab's guests apart from the machine that it runs on, and from whoever else works there."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pvelab.world import lab, monitors, mounts, process, shift
from pvelab.world.errors import LabError
from pvelab.world.lab import Lab
from pvelab.world.process import Process, wait_for

root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours."""
    held = subprocess.Popen(["sleep", "60"])
    yield held
    held.kill()
    held.wait()


def test_a_folder_of_a_former_version_is_closed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o755)
    for folder in (kept, tmp_path / "fresh"):
        assert lab.private(folder).stat().st_mode & 0o777 == 0o700


def test_what_a_lab_of_a_former_version_left_is_closed_unless_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "STATES", tmp_path / "states")
    monkeypatch.setattr(lab, "RUNTIME", tmp_path / "run")
    idle, runs = tmp_path / "states" / "idle", tmp_path / "states" / "runs"
    for folder in (idle, runs, tmp_path / "run" / "runs"):
        folder.mkdir(parents=True)
        folder.chmod(0o711)
    lab.close_idle()
    assert (idle.stat().st_mode & 0o777, runs.stat().st_mode & 0o777) == (0o700, 0o711)


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
def test_a_root_file_system_is_shifted_once_and_keeps_its_modes(tmp_path: Path) -> None:
    folder = tmp_path / "root"
    (folder / "bin").mkdir(parents=True)
    su, link = folder / "bin" / "su", folder / "link"
    su.write_text("x")
    os.chown(su, 0, 42)
    su.chmod(0o4750)
    capability = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    os.setxattr(su, "security.capability", capability)
    link.symlink_to("/etc/passwd")
    for _ in range(2):
        shift.shift(folder)
        assert (su.stat().st_uid, su.stat().st_gid, su.stat().st_mode & 0o7777) == (100_000, 100_042, 0o4750)
        assert link.lstat().st_uid == folder.stat().st_uid == 100_000
    # The kernel shows it in the old form to the root of the map alone; here it is seen whole.
    assert os.getxattr(su, "security.capability") == shift.namespaced(capability)
    assert Path("/etc/passwd").stat().st_uid == 0


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
