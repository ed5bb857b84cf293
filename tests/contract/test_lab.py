"""What a killed test run leaves: no process, and a folder that the next one takes away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.contract import provision_lab
from tests.contract.provision_lab import PREFIX, ROOT, in_memory

KILLED = """
import os, signal
from tests.contract.provision_lab import Lab
lab = Lab()
print(lab.directory, lab.server.pid, lab.driver.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_only_folders_of_dead_processes_are_taken_away(tmp_path, monkeypatch):
    monkeypatch.setattr(provision_lab, "MEMORY", tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    stays = [f"{PREFIX}{os.getpid()}-a", f"{PREFIX}1-b", f"{PREFIX}without", "another-1-c"]
    for name in (*stays, f"{PREFIX}{dead.pid}-d"):
        (tmp_path / name / "hub").mkdir(parents=True)
    made = in_memory()
    assert {path.name for path in tmp_path.iterdir()} == {*stays, made.name}
    assert made.name.startswith(f"{PREFIX}{os.getpid()}-")


def runs(pid: str) -> bool:
    """Whether there is such a process; one that has ended and was not waited for has no command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


@pytest.mark.slow
def test_a_killed_lab_leaves_no_process_and_its_folder_to_the_next():
    ended = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, capture_output=True, text=True, check=False)
    folder, *pids = ended.stdout.split()
    limit = time.monotonic() + 20
    while any(runs(pid) for pid in pids):
        assert time.monotonic() < limit, pids
        time.sleep(0.05)
    assert Path(folder).is_dir()
    in_memory().rmdir()
    assert not Path(folder).exists()
