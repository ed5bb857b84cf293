"""The generated ssh_config, the pins, and what OpenSSH itself makes of them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which

import pytest
from aihub.errors import Conflict, HubError, PreconditionFailed, Unreachable
from aihub.ssh import config as ssh_config
from aihub.state.directory import State

from tests.unit.aihub.hubs import small


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setattr(State, "control", property(lambda self: tmp_path / "c"))
    return State(tmp_path / "state")


def key(tmp_path: Path, name: str) -> str:
    path = tmp_path / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


def asked(state: State, alias: str) -> dict[str, str]:
    """What OpenSSH reads out of our file for an alias."""
    found = subprocess.run(
        ["ssh", "-G", "-F", str(state.ssh_config), alias], capture_output=True, text=True, check=True
    )
    return dict(line.partition(" ")[::2] for line in found.stdout.splitlines())


def test_openssh_reads_the_lab_config_as_meant(state):
    ssh_config.write(small(), state, ssh_config.Lab("pvelab-x"))
    found = asked(state, "db")
    assert found["hostname"] == "10.10.10.11"
    assert found["hostkeyalias"] == "db"
    assert found["user"] == "root"
    assert found["stricthostkeychecking"] == "true"
    assert found["proxycommand"] == "nsenter --net=/run/netns/pvelab-x nc %h %p"
    assert found["userknownhostsfile"] == str(state.known_hosts)
    assert found["globalknownhostsfile"] == "/dev/null"
    assert found["controlpath"] == str(state.control / "db")
    assert asked(state, "node")["proxycommand"] == found["proxycommand"]


@pytest.mark.parametrize(
    ("via", "way"),
    [
        (ssh_config.Lab("pvelab-x"), ("proxycommand", "nsenter --net=/run/netns/pvelab-x nc %h %p")),
        (ssh_config.Pve(), ("proxyjump", "node")),
    ],
)
def test_a_guest_that_is_not_in_the_file_is_reached_with_the_same_key_and_pins(state, via, way):
    ssh_config.write(small(), state, via)
    command, *options = ssh_config.argv_of_undeclared(state, "old", "10.10.10.30", "app")
    said = subprocess.run([command, "-G", *options], capture_output=True, text=True, check=True).stdout
    found = dict(line.partition(" ")[::2] for line in said.splitlines())
    assert (found["hostname"], found["hostkeyalias"]) == ("10.10.10.30", "app")
    assert (found["user"], found["identityfile"]) == ("root", str(state.key))
    assert found["userknownhostsfile"] == str(state.known_hosts)
    assert found["stricthostkeychecking"] == "true"
    assert found[way[0]] == way[1]
    assert found.get("controlpath", "none") == "none"


def test_a_guest_is_looked_for_where_it_stands_until_it_moved(state):
    ssh_config.write(small(), state, ssh_config.Lab("pvelab-x"))
    before = state.ssh_config.read_text()
    assert ssh_config.relocate(state, {"db": "10.10.10.11", "private-ai": "10.10.20.11", "unknown": "10.0.0.1"}) == ()
    assert ssh_config.relocate(state, {"db": "10.10.10.99", "private-ai": "10.10.20.11"}) == ("db",)
    assert asked(state, "db")["hostname"] == "10.10.10.99"
    assert asked(state, "db")["hostkeyalias"] == "db"
    assert asked(state, "private-ai")["hostname"] == "10.10.20.11"
    assert ssh_config.relocate(state, {"db": "10.10.10.11"}) == ("db",)
    assert state.ssh_config.read_text() == before


def test_on_pve_guests_are_reached_through_the_node_and_the_node_directly(state):
    ssh_config.write(small(), state, ssh_config.Pve())
    assert asked(state, "db")["proxyjump"] == "node"
    assert "proxyjump" not in asked(state, "node")
    assert asked(state, "node")["hostname"] == "192.168.1.10"


def test_writing_again_changes_no_file_and_everything_is_for_us_alone(state):
    ssh_config.write(small(), state, ssh_config.Pve())
    before = {p: p.stat().st_mtime_ns for p in state.ssh.iterdir()}
    ssh_config.write(small(), state, ssh_config.Pve())
    assert {p: p.stat().st_mtime_ns for p in state.ssh.iterdir()} == before
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in [state.key, state.ssh_config, state.known_hosts]}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(state.control.stat().st_mode) == 0o700


def test_the_key_is_made_once_and_its_public_half_is_found_again(state):
    public = ssh_config.ensure_key(state)
    assert ssh_config.ensure_key(state) == public
    state.key.with_suffix(".pub").unlink()
    assert ssh_config.ensure_key(state).split()[:2] == public.split()[:2]


def test_a_run_killed_while_its_key_is_made_leaves_no_half_of_one(state, tmp_path):
    """The first key's maker dies in the middle of its work, and takes the run with it."""
    program = tmp_path / "bin" / "ssh-keygen"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor file; do :; done\necho half > "$file"\nkill -9 $PPID\n')
    program.chmod(0o755)
    killed = (
        "import sys; from pathlib import Path; from aihub import ssh; from aihub.state.directory import State; "
        "ssh.ensure_key(State(Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", killed, str(state.directory)],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    public = ssh_config.ensure_key(state)
    made = subprocess.run(["ssh-keygen", "-y", "-f", str(state.key)], stdout=subprocess.PIPE, check=True, text=True)
    assert made.stdout.split()[:2] == public.split()[:2]
    state.sweep()
    assert list(state.runs.iterdir()) == []


KEYGEN = """#!/bin/sh
for file; do :; done
: > {started}
sleep {seconds}
{then}
"""


def keygen(tmp_path: Path, name: str, seconds: float, then: str) -> str:
    """A PATH with an ssh-keygen that takes its time."""
    program = tmp_path / name / "ssh-keygen"
    program.parent.mkdir()
    program.write_text(KEYGEN.format(started=tmp_path / name / "started", seconds=seconds, then=then))
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


def test_a_key_is_made_undisturbed_by_what_a_killed_run_left_running(state, tmp_path, monkeypatch):
    """The killed run's ssh-keygen wakes up while the next run makes its own key, and writes where it was told to."""
    killed, own = keygen(tmp_path, "a", 0.5, 'echo > "$file"'), keygen(tmp_path, "b", 1, f'{which("ssh-keygen")} "$@"')
    program = (
        "import sys; from pathlib import Path; from aihub import process, ssh; "
        "from aihub.state.directory import State; "
        "process.reaper.__file__ = '/dev/null'; "  # nobody ends its children
        "ssh.ensure_key(State(Path(sys.argv[1])))"
    )
    argv = [sys.executable, "-c", program, str(state.directory)]
    with subprocess.Popen(argv, env={**os.environ, "PATH": killed}) as run:
        while not (tmp_path / "a" / "started").exists():
            time.sleep(0.01)
        run.kill()
    monkeypatch.setenv("PATH", own)
    public = ssh_config.ensure_key(state)
    made = subprocess.run(["ssh-keygen", "-y", "-f", str(state.key)], stdout=subprocess.PIPE, check=True, text=True)
    assert made.stdout.split()[:2] == public.split()[:2]


def test_runs_that_make_the_key_at_the_same_time_end_up_with_the_same(state):
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: ssh_config.ensure_key(state), range(8)))) == 1


def test_a_public_half_without_a_private_one_is_void(state):
    former = ssh_config.ensure_key(state)
    state.key.unlink()
    assert ssh_config.ensure_key(state) != former


def test_a_pin_replaces_that_of_the_alias_and_of_the_address_only(state, tmp_path):
    first, second, third = (key(tmp_path, n) for n in ("a", "b", "c"))
    ssh_config.pin(state, "db", "10.10.10.11", first)
    ssh_config.pin(state, "cache", "10.10.10.12", second)
    ssh_config.pin(state, "db", "10.10.10.99", third)
    lines = state.known_hosts.read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == ["cache,10.10.10.12", "db,10.10.10.99"]
    assert ssh_config.pinned(state, "db") == " ".join(third.split()[:2])
    ssh_config.forget(state, "db")
    assert ssh_config.pinned(state, "db") is None
    assert ssh_config.pinned(state, "cache")


def test_pins_from_many_threads_are_all_kept(state, tmp_path):
    line = key(tmp_path, "k")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ssh_config.pin(state, f"g{n}", f"10.0.0.{n}", line), range(40)))
    assert len(state.known_hosts.read_text().splitlines()) == 40


def test_the_fingerprint_is_openssh_s(state, tmp_path):
    line = key(tmp_path, "k")
    told = subprocess.run(["ssh-keygen", "-lf", str(tmp_path / "k.pub")], capture_output=True, text=True, check=True)
    assert ssh_config.fingerprint(line) in told.stdout


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA=="])
def test_what_is_no_key_is_not_pinned(state, line):
    with pytest.raises(HubError, match="not an ssh public key"):
        ssh_config.pin(state, "db", "10.10.10.11", line)


DB, VM = small().guests["db"], small().guests["private-ai"]


def test_a_guest_with_another_key_than_its_create_task_printed_is_a_conflict(state, tmp_path, monkeypatch):
    line = key(tmp_path, "k")
    monkeypatch.setattr(ssh_config, "scan", lambda *_: line)
    with pytest.raises(Conflict, match="not with one that the create task printed"):
        ssh_config.scan_and_pin(state, DB, ["done: SHA256:" + "A" * 43 + " root@db"])
    assert ssh_config.pinned(state, "db") is None
    told = ssh_config.scan_and_pin(state, DB, [f"done: {ssh_config.fingerprint(line)} root@db"])
    assert told == ssh_config.fingerprint(ssh_config.pinned(state, "db") or "")


@pytest.mark.parametrize("fingerprints", [(), ("done: SHA256:cut",), None])
def test_a_container_whose_create_log_names_no_key_is_refused_until_a_person_pins_one(
    state, tmp_path, monkeypatch, fingerprints
):
    line, other = (" ".join(key(tmp_path, name).split()[:2]) for name in ("k", "other"))
    monkeypatch.setattr(ssh_config, "scan", lambda *_: line)
    ssh_config.pin(state, "db", str(DB.address), other)  # of a predecessor
    with pytest.raises(Conflict, match="is gone or names none") as refused:
        ssh_config.scan_and_pin(state, DB, fingerprints)
    assert ssh_config.fingerprint(line) in refused.value.what
    assert "pct exec 110 -- cat /etc/ssh/ssh_host_ed25519_key.pub" in refused.value.hint
    assert ssh_config.pinned(state, "db") == other
    with state.known_hosts.open("a") as handle:
        handle.write(f"db,{DB.address} {line} root@db\n")  # as the hint says
    assert ssh_config.scan_and_pin(state, DB, fingerprints) == ssh_config.fingerprint(line)
    assert ssh_config.pinned(state, "db") == line


def test_a_vm_whose_keys_nobody_prints_is_accepted_once(state, tmp_path, monkeypatch):
    line = " ".join(key(tmp_path, "k").split()[:2])
    monkeypatch.setattr(ssh_config, "scan", lambda *_: line)
    assert ssh_config.scan_and_pin(state, VM, None) == ssh_config.fingerprint(line)
    assert ssh_config.pinned(state, VM.name) == line


def test_a_guest_that_never_answers_is_unreachable(state, monkeypatch):
    monkeypatch.setattr(ssh_config, "scan", lambda *_: None)
    with pytest.raises(Unreachable, match="no ssh at"):
        ssh_config.scan_and_pin(state, VM, None, timeout=0.1)


def test_a_state_directory_that_ssh_config_cannot_hold_is_refused(tmp_path):
    with pytest.raises(PreconditionFailed, match="cannot hold this path"):
        ssh_config.write(small(), State(tmp_path / "my state"), ssh_config.Pve())


def test_a_control_directory_of_others_is_refused(state):
    state.control.mkdir(mode=0o755)
    with pytest.raises(Conflict, match="mode 0700"):
        ssh_config.write(small(), state, ssh_config.Pve())


def test_a_control_path_too_long_for_a_socket_is_refused(state, tmp_path, monkeypatch):
    monkeypatch.setattr(State, "control", property(lambda self: tmp_path / ("c" * 90)))
    with pytest.raises(PreconditionFailed, match="characters long"):
        ssh_config.write(small(), state, ssh_config.Pve())
