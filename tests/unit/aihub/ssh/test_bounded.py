"""The ssh that Ansible is given: what it passes on is bounded, and everything else is as ssh has it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from aihub.guests import ansible
from aihub.ssh import config

BOUNDED = Path(config.__file__).with_name("bounded")


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a shell command on this machine as Ansible runs one on a guest."""
    (tmp_path / "ssh").write_text('#!/bin/sh\nexec sh -c "$1"\n')
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return lambda command: subprocess.run(
        [BOUNDED, command], input=b"asked\n", capture_output=True, timeout=30, check=False
    )


def test_input_both_streams_and_the_exit_code_pass(ssh) -> None:
    done = ssh("cat; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"asked\n", b"err\n")


@pytest.mark.parametrize("stream", [1, 2])
def test_what_has_no_end_ends(ssh, stream: int) -> None:
    done = ssh(f"exec yes >&{stream}")
    assert done.returncode != 0
    assert len(done.stdout + done.stderr) == 4 << 20


def test_what_is_left_running_holds_nobody_up(ssh) -> None:
    assert ssh("sleep 20 > /dev/null 2>&1 & echo done").stdout == b"done\n"


def test_ansible_is_given_it() -> None:
    assert ansible._Run(Path("/x"), ansible._silent)._environment()["ANSIBLE_SSH_EXECUTABLE"] == str(BOUNDED)
