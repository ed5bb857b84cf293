"""The lab's bridges: made in its own namespace, and never anybody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pvelab.world import server
from pvelab.world.lab import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")
PYTHON = Path(server.__file__).parents[2]


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The pid of a process in a network namespace of its own, where somebody made a bridge."""
    script = "ip link add theirs type bridge; ip link set theirs up; echo; exec sleep 60"
    held = subprocess.Popen(["unshare", "--net", "sh", "-ec", script], stdout=subprocess.PIPE)
    assert held.stdout is not None
    held.stdout.readline()
    yield str(held.pid)
    held.kill()
    held.communicate()


def inside(pid: str, code: str) -> subprocess.CompletedProcess[str]:
    argv = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", code]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(PYTHON)}
    )


def test_a_bridge_that_the_lab_did_not_make_is_never_removed(elsewhere: str) -> None:
    code = """
from pvelab.backend import Interface
from pvelab.world import bridges
bridges.reload([Interface("mine", "bridge", {"cidr": "192.0.2.1/24"})], print)
print(sorted(bridges.present()))
bridges.reload([], print)
print(sorted(bridges.present()))
"""
    said = inside(elsewhere, code)
    assert said.stdout.splitlines() == [
        "theirs: not made by the lab, left alone", "mine: created", "['mine', 'theirs']",
        "theirs: not made by the lab, left alone", "mine: removed", "['theirs']",
    ], said.stderr  # fmt: skip


def test_the_lab_s_server_does_not_start_in_another_network(elsewhere: str) -> None:
    with pytest.raises(SystemExit, match="not the network namespace of lab nobody-has-it"):
        server.refuse_elsewhere(Lab("nobody-has-it"))
    code = "import sys; from pvelab.world import server; sys.exit(server.main(sys.argv[1:]))"
    options = "'nobody-has-it', '--fd', '9', '--factor', '1', '--resolver', '192.0.2.1'"
    said = inside(elsewhere, code.replace("sys.argv[1:]", f"[{options}]"))
    assert said.returncode == 1
    assert "not the network namespace of lab nobody-has-it" in said.stderr
    assert "bridge" not in said.stdout
