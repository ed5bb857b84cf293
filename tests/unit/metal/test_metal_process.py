"""`python -m metal` against a machine over a real ssh connection: one JSON document, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import paramiko
import pytest
from metal.exchange import Answer, Order

from tests.unit.metal.metal_nodes import WANTED, fresh, printed
from tests.unit.metal.ssh_machine import Machine, known, serving

pytestmark = pytest.mark.slow  # each takes up to seconds; `make test` has them

ROOT = Path(__file__).resolve().parents[3]
READS = "ask() {"


def node(command: str) -> tuple[int, str, str]:
    """A node where nothing of ours is, and every command succeeds."""
    return (0, printed(fresh()), "") if READS in command else (0, "", "")


@pytest.fixture
def machine(tmp_path: Path):
    found = Machine(node)
    with serving(found):
        yield found


def metal(options: list[str], order: Order, *more: str) -> tuple[int, Answer]:
    done = subprocess.run(
        [sys.executable, "-m", "metal", *options, *more],
        input=order.as_json(),
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(ROOT / "python"), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, Answer.read(json.dumps(json.loads(done.stdout)))


def test_a_dry_run_names_every_step_and_changes_nothing(machine, tmp_path):
    code, answer = metal(known(machine, tmp_path), Order(WANTED), "--dry")
    assert (code, answer.refused, answer.failed) == (0, None, None)
    assert {step.outcome for step in answer.steps} == {"planned"}
    assert [s.subject for s in answer.steps if s.kind == "bridge"] == [
        "node pve: bridge hubinfra",
        "node pve: bridge hubprivate",
    ]
    assert len(machine.commands) == 1
    assert machine.files == {}


def test_all_is_done_and_files_are_uploaded(machine, tmp_path):
    code, answer = metal(known(machine, tmp_path), Order(WANTED))
    assert (code, answer.failed) == (0, None)
    assert {step.outcome for step in answer.steps} == {"done"}
    assert "table inet hub_my_hub" in machine.files["/etc/hub-node/my-hub/walls.nft"]
    assert any("chmod 600 /etc/hub-node/my-hub/walls.nft" in command for command in machine.commands)


LOOKS_LIKE_PYINFRA = "--> Starting operation: delete walls\n    [@ssh/node] No changes\nunbound: bad"


def test_a_command_that_fails_is_told_with_its_step_whatever_it_prints(machine, tmp_path):
    machine.answer = lambda command: (1, "", LOOKS_LIKE_PYINFRA) if "restart hub-dns" in command else node(command)
    code, answer = metal(known(machine, tmp_path), Order(WANTED))
    assert (code, answer.failed.cause, answer.failed.step) == (1, "command", "node pve: DNS")
    assert answer.failed.lines == tuple(LOOKS_LIKE_PYINFRA.splitlines())
    outcomes = {step.kind: step.outcome for step in answer.steps}
    assert (outcomes["walls"], outcomes["dns"], outcomes["time"]) == ("done", "failed", "not reached")
    assert not any("chrony" in command for command in machine.commands[1:])


def test_a_file_that_cannot_be_uploaded_fails_its_step(machine, tmp_path):
    machine.takes_files = False
    _, answer = metal(known(machine, tmp_path), Order(WANTED))
    assert (answer.failed.cause, answer.failed.step) == ("command", "node pve: limits")
    assert "SFTP" in answer.failed.lines[-1]


def test_a_connection_that_ends_in_the_middle_is_no_failed_command(machine, tmp_path):
    def hang_up(command: str) -> tuple[int, str, str]:
        if "restart hub-dns" in command:
            raise ConnectionError
        return node(command)

    machine.answer = hang_up
    _, answer = metal(known(machine, tmp_path), Order(WANTED))
    assert (answer.failed.cause, answer.failed.step) == ("unreachable", "node pve: DNS")


def test_a_reading_that_fails_is_told(machine, tmp_path):
    machine.answer = lambda command: (3, "", "mktemp: no space left on device")
    _, answer = metal(known(machine, tmp_path), Order(WANTED))
    assert answer.failed.cause == "command"
    assert answer.failed.lines == ("mktemp: no space left on device",)


def test_another_host_key_and_none_at_all(machine, tmp_path):
    options = known(machine, tmp_path, host_key=paramiko.ECDSAKey.generate())
    assert metal(options, Order(WANTED))[1].failed.cause == "host key"
    (tmp_path / "known_hosts").write_text("")
    code, answer = metal(options, Order(WANTED))
    assert (code, answer.failed.cause) == (1, "host key")
    assert machine.commands == []


def test_a_key_that_is_not_let_in(machine, tmp_path):
    options = known(machine, tmp_path)
    machine.client_key = paramiko.ECDSAKey.generate()
    assert metal(options, Order(WANTED))[1].failed.cause == "authentication"


def test_nobody_there(machine, tmp_path):
    options = known(machine, tmp_path)
    config = tmp_path / "config"
    config.write_text(config.read_text().replace(f"Port {machine.port}", "Port 1"))
    _, answer = metal(options, Order(WANTED))
    assert (answer.failed.cause, answer.failed.step, answer.steps) == ("unreachable", "", ())
