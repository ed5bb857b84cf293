"""The API as root has it: what pvesh refuses is told from an ssh that failed, and nothing is hidden."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest
from aihub import process
from aihub.errors import TaskFailed, Unreachable
from aihub.proxmox.errors import Changed, RefusedByProxmox
from aihub.proxmox.root import Root
from aihub.proxmox.state import read_guest, seen
from aihub.ssh import config
from aihub.state.directory import State

GONE = "Configuration file 'nodes/pve/lxc/110.conf' does not exist"
GUEST = seen({"vmid": 110, "type": "lxc", "node": "pve"})


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Answers what is asked of a shell on the node; `node.asked` are the commands."""

    class Node:
        def __init__(self):
            self.answers, self.broken, self.asked = {}, False, []
            self.root = Root(State(tmp_path))

        def run(self, argv, **_):
            command, _, guard = argv[-1].partition(" || ")
            self.asked.append(words := shlex.split(command))
            if self.broken:
                return subprocess.CompletedProcess(argv, 255, b"", b"Connection to 192.168.1.10 closed.")
            found = self.answers.get(words[2], GONE)
            if isinstance(found, str):  # the shell ends with what pvesh ends with, unless it was told otherwise
                code = int(guard.removeprefix("exit ")) if guard else 255
                return subprocess.CompletedProcess(argv, code, b"", f"{found}\n".encode())
            return subprocess.CompletedProcess(argv, 0, json.dumps(found).encode(), b"")

    found = Node()
    monkeypatch.setattr(process, "run", found.run)
    monkeypatch.setattr(config, "argv", lambda state, alias, *options: ["ssh", alias])
    return found


def test_a_guest_that_is_gone_is_not_a_node_that_does_not_answer(node):
    assert read_guest(node.root.get, GUEST) is None
    with pytest.raises(RefusedByProxmox, match="does not exist"):
        node.root.get(f"{GUEST.path}/config")


def test_a_connection_that_breaks_is_no_refusal(node):
    node.broken = True
    with pytest.raises(Unreachable):
        node.root.get("/version")


def test_an_answer_that_is_no_json(node, monkeypatch):
    monkeypatch.setattr(process, "run", lambda argv, **_: subprocess.CompletedProcess(argv, 0, b"hello", b""))
    with pytest.raises(TaskFailed, match="JSON"):
        node.root.get("/version")


def test_a_change_carries_its_digest_and_is_refused_when_somebody_was_faster(node):
    values = {"dev0": "/dev/kfd", "delete": "net1,mp0", "digest": "abc"}
    node.answers = {f"{GUEST.path}/config": None}
    node.root.set(f"{GUEST.path}/config", values)
    (words,) = node.asked
    assert words[:3] == ["pvesh", "set", f"{GUEST.path}/config"]
    assert words[3:9] == ["--dev0", "/dev/kfd", "--delete", "net1,mp0", "--digest", "abc"]
    node.answers = {f"{GUEST.path}/config": "detected modified configuration - file changed by other user? Try again."}
    with pytest.raises(Changed):
        node.root.set(f"{GUEST.path}/config", values)


def test_facts_as_root_tell_nothing_of_the_tokens_rights_and_hide_no_guest(node, hub):
    node.answers = {
        "/cluster/resources": [
            {"type": "storage", "storage": "local", "node": "pve", "status": "available", "content": "rootdir"},
            {"type": "lxc", "vmid": 300, "name": "other", "node": "pve"},
            {"type": "node", "node": "pve", "status": "online"},
        ],
        "/nodes/pve/lxc": [{"vmid": 300, "status": "running"}],
        "/nodes/pve/status": {"cpuinfo": {"cpus": 16}, "memory": {"total": 64 << 30}},
        "/nodes/pve/network": [{"iface": "vmbr0"}],
        "/pools": [],
        "/nodes/pve/lxc/300/config": {"net0": "name=eth0,hwaddr=bc:24:11:00:00:01,ip=10.0.0.7/24"},
    }
    found = node.root.facts(hub)
    assert found.permissions is None
    assert found.taken == {}
    assert [n.addresses for n in found.neighbours] == [{"10.0.0.7"}]
    assert not [words for words in node.asked if words[2] in ("/access/permissions", "/cluster/nextid")]
