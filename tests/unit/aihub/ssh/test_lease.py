"""The lease: its scripts run in a real sh here instead of on a node; two machines are two state directories."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aihub.errors import Locked, Unreachable
from aihub.ssh import connection, lease
from aihub.state.directory import State

from tests.unit.aihub.hubs import small

MINE, THEIRS = State(Path("/a")), State(Path("/b"))


class Node:
    """The node's side: a file, and whether the way to it is open."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.away = False
        self.calls = 0

    def run(self, _state: State, _alias: str, command: list[str], **_: object) -> object:
        self.calls += 1
        if self.away:
            raise Unreachable("no ssh: no route to host", where="node")
        return subprocess.run(command, capture_output=True, check=False)

    @property
    def ends(self) -> int:
        """When the lease ends, by the node's clock."""
        return int(self.file.read_text().split()[0])


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    found = Node(tmp_path / "0123456789abcdef.lease")
    monkeypatch.setattr(connection, "run", found.run)
    monkeypatch.setattr(lease, "_path", lambda hub: str(tmp_path / f"{hub.id}.lease"))
    return found


class Clock:
    """Seconds since the machine started; it can sleep."""

    def __init__(self) -> None:
        self.slept = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.slept


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(lease, "clock", found)
    return found


@contextmanager
def held(state: State = MINE, verb: str = "up", said: Callable[[str], None] = lambda _: None) -> Iterator[lease.Lease]:
    with lease.held(small(), state, verb, said) as found:
        yield found


def ended(node: Node) -> None:
    """The lease on the node is as one that ended a second ago."""
    node.file.write_text(f"{int(time.time()) - 1} {node.file.read_text().partition(' ')[2]}")


@pytest.mark.parametrize("verb", ["up", "down", "secrets rotate"])
def test_another_machine_is_held_off_and_told_who_holds_it_for_what(verb):
    with held(verb=verb), pytest.raises(Locked, match=rf"aihub {verb} \(pid {os.getpid()} of .* it ends in \d+ s"):
        lease.Lease(small(), THEIRS, "other").take()
    with held(THEIRS):
        pass


def test_it_is_given_back_at_the_end_also_of_a_run_that_failed(node):
    with pytest.raises(ZeroDivisionError), held():
        assert node.file.exists()
        raise ZeroDivisionError
    assert not node.file.exists()


def test_a_lease_lasts_minutes(node):
    with held():
        assert 295 <= node.ends - time.time() <= 301


def test_a_dead_run_of_this_machine_is_taken_over_at_once(node, tmp_path):
    """With kill -9, and while its lease still lasts."""
    program = f"""
import subprocess, time
from pathlib import Path
from aihub.ssh import connection, lease
from aihub.state.directory import State
from tests.unit.aihub.hubs import small
connection.run = lambda state, alias, command, **_: subprocess.run(command, capture_output=True)
lease._path = lambda hub: {str(node.file)!r}
with lease.held(small(), State(Path("/a")), "up", print):
    print("held", flush=True)
    time.sleep(60)
"""
    dead = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[4])
    assert dead.stdout
    assert dead.stdout.readline() == b"held\n"
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    dead.stdout.close()
    with pytest.raises(Locked, match=f"pid {dead.pid} "):
        lease.Lease(small(), THEIRS, "other").take()
    with held() as found:
        found.still_held()
        assert f"pid {os.getpid()} " in node.file.read_text()


def test_an_ended_lease_holds_nobody_off(node):
    lease.Lease(small(), MINE, "killed").take()
    ended(node)
    with held(THEIRS) as found:
        found.still_held()


def test_it_is_renewed_while_it_is_held(node, monkeypatch):
    monkeypatch.setattr(lease, "EVERY", 0.1)
    with held() as found:
        first, limit = node.ends, time.monotonic() + 30
        while node.ends < first + 2:
            assert time.monotonic() < limit
            time.sleep(0.1)
        found.still_held()
    assert not node.file.exists()
    assert all(thread.name != "lease" for thread in threading.enumerate())


def test_a_renewal_that_fails_is_tried_again_and_stops_nothing_while_the_lease_lasts(node, monkeypatch):
    monkeypatch.setattr(lease, "EVERY", 0.05)
    monkeypatch.setattr(lease, "AGAIN", 0.05)
    with held() as found:
        node.away = True
        calls = node.calls
        while node.calls < calls + 3:
            time.sleep(0.02)
        found.still_held()
        node.away = False
        calls = node.calls
        while node.calls < calls + 3:
            time.sleep(0.02)
        found.still_held()


def test_one_that_ends_and_cannot_be_renewed_stops_the_run(node, clock):
    said = []
    with held(said=said.append) as found:
        node.away = True
        clock.slept = lease.TTL - lease.EVERY - 5
        found.still_held()
        clock.slept += 10
        with pytest.raises(Unreachable, match=r"can't be renewed and ends: no ssh: no route to host"):
            found.still_held()
        node.away = False
        found.still_held()  # nobody took it meanwhile
        node.away = True
    assert len(said) == 1
    assert "stays until it ends by itself, 300 s at most" in said[0]


def test_after_a_sleep_it_is_still_ours_when_nobody_took_it(node, clock):
    with held() as found:
        ended(node)
        clock.slept = 8 * 3600
        found.still_held()
        assert node.ends > time.time() + 290


def test_after_a_sleep_in_which_another_machine_took_it_the_run_stops(node, clock):
    with held() as found:
        ended(node)
        with held(THEIRS, "down"):
            clock.slept = 8 * 3600
            for _ in range(2):
                with pytest.raises(Locked, match=r"was lost: aihub down \(pid .* has it") as lost:
                    found.still_held()
            assert "aihub plan" in lost.value.hint
            theirs = node.file.read_text()
            assert "aihub down" in theirs
        with pytest.raises(Locked):
            found.still_held()
    assert not node.file.exists()


def test_after_a_sleep_in_which_another_machine_came_and_went_the_run_stops(node, clock):
    with held() as found:
        ended(node)
        with held(THEIRS):
            pass
        clock.slept = 8 * 3600
        with pytest.raises(Locked, match="another machine had it in between"):
            found.still_held()
    assert not node.file.exists()


def test_the_background_sees_a_lost_lease_without_being_asked(node, monkeypatch):
    monkeypatch.setattr(lease, "EVERY", 0.05)
    with held() as found:
        node.file.write_text(f"{int(time.time()) + 300} other:1 aihub up (pid 7 of you@there)\n")
        while any(t.name == "lease" for t in threading.enumerate()):
            time.sleep(0.02)
        with pytest.raises(Locked, match="pid 7 of you@there"):
            found.still_held()
    assert "pid 7" in node.file.read_text(), "only its own lease is given back"


def test_the_clock_goes_on_while_the_machine_sleeps():
    assert abs(lease.clock() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1


def test_two_machines_of_one_name_do_not_take_each_other_for_themselves(tmp_path, monkeypatch):
    lease.Lease(small(), MINE, "first").take()
    (tmp_path / "machine-id").write_text("another\n")
    monkeypatch.setattr(lease, "_MACHINE", tmp_path / "machine-id")
    with pytest.raises(Locked, match="first"):
        lease.Lease(small(), MINE, "second").take()


def test_two_hubs_on_a_node_do_not_meet():
    lease.Lease(small(), MINE, "first").take()
    lease.Lease(replace(small(), id="f" * 16), THEIRS, "second").take()


def test_while_the_node_boots_it_is_not_asked_for_and_then_taken_anew(node, monkeypatch):
    monkeypatch.setattr(lease, "EVERY", 0.01)
    monkeypatch.setattr(lease, "AGAIN", 0.01)
    with held() as found:
        with found.away():
            node.file.unlink()  # it lies in the node's memory
            calls = node.calls
            time.sleep(0.1)
            assert node.calls == calls
        found.still_held()
        assert node.file.exists()


def test_another_machine_that_was_faster_after_a_boot_ends_the_run(node):
    with held() as found:
        with pytest.raises(Locked, match="lost while it booted: aihub"), found.away():
            node.file.unlink()
            lease.Lease(small(), THEIRS, "aihub up of another").take()
        with pytest.raises(Locked):
            found.still_held()
