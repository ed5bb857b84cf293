"""The one door to other programs: what comes back, and that no child outlives a run that was killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aihub import process
from aihub.errors import TaskFailed
from aihub.state import lock

from tests.unit.aihub.running import Runs

SIGNALS = [signal.SIGKILL, signal.SIGTERM]

# Grandchildren write on and on where they were told to: one in a session of its own, as Ansible's workers are, and one
# with another environment, as what runs in a lab's builder; that keeps only the variable that this test finds it by.
LOOP = 'sh -c \'while :; do echo $$ >> "$0"; sleep 0.002; done\' "$0" &'
WRITER = f'setsid {LOOP} env -i PATH="$PATH" AIHUB_TEST_RUN="$AIHUB_TEST_RUN" {LOOP} wait'

RUN = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from aihub import process
from aihub.state import lock
target, writer = sys.argv[1:3]
with lock.held(Path(target + ".lock"), "up"), ThreadPoolExecutor(3) as pool:
    pool.submit(process.run, ["sh", "-c", writer, target])
    print("started", flush=True)
    while True:
        list(pool.map(lambda n: process.run(["sh", "-c", "sleep 0.0$0", str(n)]), range(6)))
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_no_descendant_outlives_a_killed_run(runs: Runs, tmp_path: Path, number: int) -> None:
    run = runs.start(RUN, str(tmp_path / "written"), WRITER)
    assert run.stdout and run.stdout.readline() == "started\n"
    runs.until((tmp_path / "written").exists, run)
    assert len(runs.alive()) > 2
    runs.kill(run, number)
    assert not runs.left()


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_nothing_and_the_next_run_is_undisturbed(runs: Runs, tmp_path: Path) -> None:
    """The next run has the lock when the killed one's children are dead: none writes any more from then on."""
    written = tmp_path / "written"
    for turn in range(40):
        run = runs.start(RUN, str(written), WRITER)
        time.sleep(0.05 + turn * 0.01)  # from before the first child to long after
        runs.kill(run, SIGNALS[turn % 2])
        with lock.held(tmp_path / "written.lock", "up"):
            before = written.read_bytes() if written.exists() else b""
            time.sleep(0.02)
            assert (written.read_bytes() if written.exists() else b"") == before, f"turn {turn}"
        assert not runs.left(), f"turn {turn}"


FORKER = """
import sys
from aihub import process
busy = 'while :; do sleep 60 & sleep 0.001; done'
process.run(["sh", "-c", 'env -i PATH="$PATH" AIHUB_TEST_RUN="$AIHUB_TEST_RUN" sh -c "$0"; :', busy])
"""


def test_what_is_being_started_at_that_moment_dies_as_well(runs: Runs) -> None:
    """Without a mark it is known by its parent only, which may die before it was seen."""
    for _ in range(3):
        run = runs.start(FORKER)
        runs.until(lambda: sum("sleep 60" in line for line in runs.alive().values()) > 10, run)
        runs.kill(run, signal.SIGKILL)
        assert not runs.left()


def test_a_child_of_a_worker_outlives_that_worker() -> None:
    """What PR_SET_PDEATHSIG would get wrong: it is bound to the parent's thread."""
    with ThreadPoolExecutor(1) as pool:
        child = pool.submit(process.converse, ["cat"]).result()
    time.sleep(0.1)
    assert child.poll() is None
    assert child.communicate(b"still here") == (b"still here", b"")


LASTING = """
import sys
from aihub import process
process.run(["sh", "-c", 'setsid sleep 60 >/dev/null 2>&1 & echo "$!"'])
print("started", flush=True)
process.run(["sleep", "61"], lasting=True)
"""


def test_what_goes_on_by_itself_goes_on(runs: Runs) -> None:
    """What an ended child left running on purpose, as ssh does with a shared connection, and a lasting program."""
    run = runs.start(LASTING)
    assert run.stdout and run.stdout.readline() == "started\n"
    runs.until(lambda: any(line.startswith("sleep 61") for line in runs.alive().values()), run)
    runs.kill(run, signal.SIGKILL)
    time.sleep(2 * process.reaper.QUIET)
    assert sorted(runs.alive().values()) == ["sleep 60 ", "sleep 61 "]


NESTED = """
import sys
from aihub import process
process.run([sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
"""
ORPHAN = """
import sys
from aihub import process
# The shell waits for its orphan: that is a child that has not ended, but no descendant of a process that lives.
process.run(["sh", "-c", 'sh -c "setsid sleep 62 &"; echo > "$0"; sleep 63', sys.argv[1]])
"""


@pytest.mark.parametrize("program", [RUN, ORPHAN])
def test_a_run_inside_a_run_dies_with_it_and_so_do_its_children(runs: Runs, tmp_path: Path, program: str) -> None:
    run = runs.start(NESTED, program, str(tmp_path / "written"), WRITER)
    runs.until((tmp_path / "written").exists, run)
    runs.kill(run, signal.SIGKILL)
    assert not runs.left()


def test_a_fork_of_ours_that_is_killed_takes_its_own_children_only(runs: Runs) -> None:
    process.run(["true"])
    ours = process.converse(["cat"])
    name, _, value = runs.entry.partition("=")
    fork = os.fork()
    if not fork:
        process.run(["sleep", "60"], env={name: value})
        os._exit(1)
    while not runs.alive():
        time.sleep(0.01)
    os.kill(fork, signal.SIGKILL)
    os.waitpid(fork, 0)
    assert not runs.left()
    assert ours.communicate(b"x") == (b"x", b"")


TALKING = """
from aihub import process
child = process.converse(["sh", "-c", "setsid sleep 60 <&- >&- 2>&- & echo; cat"])
child.stdout.readline()
child.end()
"""


def test_what_a_program_leaves_running_on_purpose_stays_after_its_end(runs: Runs) -> None:
    """An ssh that others share needs the program that it connects through."""
    run = runs.start(TALKING)
    run.communicate()
    found = runs.left()
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    assert run.returncode == 0
    assert [line.split()[0] for line in found.values()] == ["sleep"]


def test_output_and_exit_code_come_back() -> None:
    found = process.run(["sh", "-c", 'cat; echo "$X" >&2; exit 3'], stdin=b"in", env={"X": "err"}, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (3, b"in", b"err\n")
    with pytest.raises(TaskFailed, match="sh ended with exit code 4\nwhy"):
        process.run(["sh", "-c", "echo why >&2; exit 4"])
    with pytest.raises(TaskFailed, match="sleep did not end within 0 s"):
        process.run(["sleep", "9"], timeout=0.1)


@pytest.mark.parametrize("start", [process.run, process.stream, process.converse])
def test_a_program_that_is_not_there_is_said_so(start) -> None:
    with pytest.raises(TaskFailed, match="no-such-program is not installed"):
        start(["/nowhere/no-such-program"])


def test_a_stream_goes_to_our_own_output(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    assert process.stream(["sh", "-c", 'echo "$X"; echo err >&2; exit 5'], env={"X": "out"}) == 5
    assert capfd.readouterr() == ("before\nout\n", "err\n")


def test_streams_run_side_by_side_each_to_its_log(tmp_path: Path) -> None:
    """Each waits until the other has said something."""
    together = threading.Barrier(2)

    def one(own: str, other: str) -> int:
        together.wait()
        wait = f'echo {own}; echo err >&2; until grep -qs {other} "$0"; do sleep 0.01; done'
        return process.stream(["sh", "-c", wait, str(tmp_path / other)], log=tmp_path / own, cwd=tmp_path)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, ("a", "b"), ("b", "a"))) == [0, 0]
    assert [(tmp_path / name).read_text() for name in "ab"] == ["a\nerr\n", "b\nerr\n"]
