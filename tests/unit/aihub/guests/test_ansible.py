"""Which playbook runs where, and how Ansible's events become our words and errors."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from aihub import paths, words
from aihub.errors import TaskFailed, Unreachable
from aihub.guests import ansible as guests
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.ssh import config as ssh_config
from aihub.state.directory import State
from ruamel.yaml import YAML

from tests.unit.aihub.running import Runs


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


def run() -> guests._Run:
    return guests._Run(Path("/nowhere"), lambda _subject, _text: None)


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"event": kind, "event_data": {"host": "db", "role": "ssh", "task": "Sshd runs", **data}}


def test_guests_that_need_the_same_run_together() -> None:
    wanted = {"db": ["ssh", "stack/postgres"], "cicd": ["ssh"], "cache": None, "security": ["stack/x"]}
    desired = {guest: ["ssh", "door"] for guest in wanted}
    assert guests._runs(wanted, desired) == {("ssh",): ["db", "cicd"], (): ["cache"]}


def test_a_role_that_a_guest_no_longer_needs_is_taken_away_under_a_tag_of_its_own() -> None:
    wanted = {"db": ["ssh", "door"], "cicd": ["door"]}
    assert guests._runs(wanted, {"db": ["ssh", "door"], "cicd": ["ssh"]}) == {
        ("door", "ssh"): ["db"],
        ("retired",): ["cicd"],
    }
    plays = (paths.ROOT / "playbooks" / "machines.yml").read_text()
    assert f"tags: [base, ssh, firewall, {guests._RETIRED}]" in plays


def test_the_stacks_phase_takes_the_named_instances_only(hub: Hub) -> None:
    assert guests._chosen(hub, {"cache": None, "db": None}, ["egress@cache"]) == {"cache": ["egress"]}
    assert guests._chosen(hub, {"cache": ["ssh", "stack/redis"], "db": ["ssh"]}, None) == {"cache": ["redis"]}


def test_events_are_not_kept_on_disk() -> None:
    assert run()._event(event("runner_on_ok", res={})) is False


def test_a_failure_names_guest_role_task_and_last_words() -> None:
    one = run()
    one._event(event("runner_on_failed", res={"msg": "refused", "stderr": "line 1\nline 2"}))
    failure = one.failed["db"]
    assert isinstance(failure, TaskFailed)
    assert str(failure) == "db, ssh: Sshd runs: refused\nline 1\nline 2"


def test_of_a_loop_only_failed_items_speak() -> None:
    items = [{"failed": False, "msg": "fine"}, {"failed": True, "msg": "broken"}]
    assert guests._reason({"res": {"msg": "One or more items failed", "results": items}}) == "broken"


def test_the_last_failure_of_a_guest_explains_it() -> None:
    one = run()
    one._event(event("runner_on_failed", res={"msg": "see the journal"}))
    one._event(event("runner_on_failed", res={"msg": "no such image"}))
    assert {guest: failure.what for guest, failure in one.failed.items()} == {"db": "no such image"}


def test_what_is_ignored_is_no_failure() -> None:
    one = run()
    one._event(event("runner_on_failed", res={"msg": "not yet"}, ignore_errors=True))
    assert not one.failed


def test_an_instance_that_does_not_start_is_named_and_the_others_of_its_guest_are_not() -> None:
    told: list[tuple[str, list[str]]] = []
    one = guests._Run(Path("/nowhere"), lambda *_: None, lambda guest, failed: told.append((guest, list(failed))))
    items = [{"item": "notes", "failed": True, "msg": "container notes-1 is unhealthy"}]
    one._event(event("runner_on_skipped", host="cache", task=guests._LAST))
    one._event(event("runner_on_failed", task=guests._LAST, res={"results": items}))
    assert told == [("cache", []), ("db", ["notes@db"])], "a guest is through, whatever others do"
    assert str(one.failed["notes@db"]) == "notes@db: container notes-1 is unhealthy"


def test_the_last_task_of_the_stacks_is_the_one_that_tells() -> None:
    """By its name a guest is known to be through."""
    tasks = YAML(typ="safe").load(paths.ROOT / "roles" / "stack" / "tasks" / "failed.yml")
    (play,) = YAML(typ="safe").load(paths.ROOT / "playbooks" / "stacks.yml")
    assert tasks[-1]["name"] == guests._LAST
    assert play["tasks"][-1]["ansible.builtin.import_role"]["tasks_from"] == "failed"


def test_what_a_guest_says_is_bounded_and_steers_no_terminal() -> None:
    said = "\n".join(f"line {number} \x1b[2J\r{'x' * 10_000}" for number in range(1000))
    told = words.last(said)
    assert "\x1b" not in told
    assert "\r" not in told
    assert len(told.splitlines()) <= words.LINES
    assert max(map(len, told.splitlines())) <= words.WIDTH


def test_guests_that_do_not_answer_are_unreachable() -> None:
    one = run()
    one._event(event("runner_on_unreachable", res={"msg": "timed out"}))
    assert isinstance(one.failed["db"], Unreachable)


def test_nothing_wanted_starts_nothing(hub: Hub, tmp_path: Path) -> None:
    state = State(tmp_path)
    state.make()
    state.key.with_suffix(".pub").write_text("ssh-ed25519 AAAA controller\n")
    assert guests.attempt(hub, state, {"db": ["stack/postgres"]}, phase="machine") == {}


def test_what_else_is_in_a_person_s_environment_is_not_ansible_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_PASSWORD", "of somebody")
    monkeypatch.setenv("AIHUB_LAB", "x")
    ours = {**os.environ, "ANSIBLE_CONFIG": "/ours", "PATH": "/ours"}
    left = guests._without_strangers(ours)
    assert "CLOUD_PASSWORD" not in left
    assert left.items() >= {"ANSIBLE_CONFIG": "/ours", "PATH": "/ours", "AIHUB_LAB": "x"}.items()


@pytest.mark.slow
def test_ansible_never_switches_host_key_checking_off(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ansible-runner does, unless told otherwise; a stand-in for ssh shows what Ansible asks of it."""
    state = State(tmp_path / "state")
    state.make()
    ssh_config.ensure_key(state)
    log, program = tmp_path / "asked", tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    look = f'grep -rl "of somebody" {state.runs} >> {log}.written; ls {state.runs}/*/* >> {log}.listed'
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {log}; {look}\nexit 255\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CLOUD_PASSWORD", "of somebody")
    with pytest.raises(Unreachable):
        guests.converge(hub, state, {next(iter(hub.guests)): None}, phase="machine")
    assert str(state.ssh_config) in log.read_text()
    assert "StrictHostKeyChecking=no" not in log.read_text()
    assert "artifacts" in log.with_name("asked.listed").read_text()
    assert log.with_name("asked.written").read_text() == "", "ansible-runner wrote the whole environment down"
    assert list(state.runs.iterdir()) == []


CONVERGE = """
import sys
from pathlib import Path
from aihub import paths, words
from aihub.guests import ansible
from aihub.reading import load
from aihub.state.directory import State
hub = load.load(paths.DEFAULT_HUB, target="lab")
ansible.converge(hub, State(Path(sys.argv[1])), dict.fromkeys(hub.guests), phase="machine")
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 0.3, 1])
def test_ansible_s_workers_die_with_a_killed_run(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """They open sessions of their own, and the ssh that they wait for here would never end."""
    state = State(tmp_path / "state")
    state.make()
    ssh_config.ensure_key(state)
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    run = runs.start(CONVERGE, str(state.directory))
    runs.until(lambda: any("sleep 600" in line for line in runs.alive().values()), run)
    time.sleep(seconds)
    runs.kill(run, signal.SIGKILL)
    assert not runs.left()
    state.sweep()
    assert list(state.runs.iterdir()) == []


IN_A_THREAD = """
import sys
import threading
from pathlib import Path
from aihub import jobs, paths
from aihub.guests import ansible
from aihub.jobs import Crew, Job
from aihub.reading import load
from aihub.state.directory import State
hub, stop = load.load(paths.DEFAULT_HUB, target="lab"), threading.Event()
wanted = dict.fromkeys(hub.guests)
crew = Crew(lambda subjects, ended: ansible.attempt(hub, State(Path(sys.argv[1])), wanted, phase="stacks", stop=stop))
jobs.run([Job("all", "all", crew)], lambda: None, stop)
"""


@pytest.mark.slow
def test_ctrl_c_ends_what_runs_beside_us_soon(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path / "state")
    state.make()
    ssh_config.ensure_key(state)
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    run = runs.start(IN_A_THREAD, str(state.directory))
    runs.until(lambda: any("sleep 600" in line for line in runs.alive().values()), run)
    started = time.monotonic()
    runs.kill(run, signal.SIGINT)
    assert time.monotonic() - started < 30
    assert not runs.left()
    state.sweep()
    assert list(state.runs.iterdir()) == []
