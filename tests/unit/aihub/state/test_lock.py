"""One run at a time, and the second is told who runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from aihub.errors import Locked
from aihub.state import lock

HOLDER = """
import sys, time
from pathlib import Path
from aihub.state import lock
with lock.held(Path(sys.argv[1]), "up"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_the_second_run_is_refused_at_once_and_told_who_holds_it(tmp_path, other):
    started = time.monotonic()
    with pytest.raises(Locked) as caught, lock.held(tmp_path / "lock", "plan"):
        pass
    assert time.monotonic() - started < 0.5
    assert caught.value.exit_code == 5
    assert f"aihub up (pid {other.pid} of " in str(caught.value)


def test_a_killed_holder_holds_nothing(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with lock.held(tmp_path / "lock", "up") as me:
        assert me.pid == os.getpid()
        assert lock.holder(tmp_path / "lock") == me
    assert lock.holder(tmp_path / "lock") is None


def test_a_program_that_a_killed_holder_was_just_starting_is_waited_for(tmp_path):
    holder = os.fork()
    if not holder:
        with lock.held(tmp_path / "lock", "up"):
            if not os.fork():  # it has the lock's descriptor until it becomes another program
                time.sleep(0.4)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(holder, 0)
    started = time.monotonic()
    with lock.held(tmp_path / "lock", "up"):
        assert time.monotonic() - started < 1


def test_the_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), lock.held(tmp_path / "lock"):
        raise RuntimeError
    with lock.held(tmp_path / "lock"):
        pass


def test_a_name_left_by_a_killed_run_is_not_told(tmp_path, other, monkeypatch):
    path = tmp_path / "lock"
    stale = path.read_text().replace(str(other.pid), "4194999")
    path.write_text(stale)
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    with pytest.raises(Locked, match="another run holds the lock"), lock.held(path):
        pass
