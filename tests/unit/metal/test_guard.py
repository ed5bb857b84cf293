"""The script that keeps a guest whose card is dead from being started: where it lies, and what it decides."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aihub.names import Layout, guard_volume
from metal import guard, guard_on_node
from metal.actual import ActualNode, File
from metal.cards import Found
from metal.desired import Card
from metal.hardware import Device
from metal.refusal import RefusedByNode
from metal.steps import Step, Upload

from tests.unit.metal.metal_nodes import WANTED, converged

NAMES = Layout(WANTED.hub)
CARD = [Found(Card("big", "10de:2b85"), (Device("0000:01:00.0", "0300", "10de:2b85", group=1),))]
BUS = "Slot:\t0000:01:00.0\nRev:\t{}\n\nSlot:\t0000:01:00.1\nRev:\ta1\n\nSlot:\t0000:02:00.0\nRev:\t04\n"
MAPS: dict[str, Any] = {
    "/nodes/pve/qemu/201/config": {"hostpci0": "mapping=big,pcie=1", "net0": "virtio=BC:24:11:00:00:C9"},
    "/nodes/pve/qemu/202/config": {"hostpci0": "0000:02:00,pcie=1"},
    "/nodes/pve/qemu/203/config": {"cores": 4},
    "/cluster/mapping/pci/big": {"map": ["node=other,path=0000:02:00", "node=pve,path=0000:01:00,id=10de:2b85"]},
}


def node(content: str = "iso,vztmpl,backup", **entry: str) -> ActualNode:
    found = converged()
    found.api["storage"] = [{"storage": "local", "type": "dir", "path": "/var/lib/vz", "content": content, **entry}]
    return found


def after(actual: ActualNode, step: Step) -> ActualNode:
    for one in step.commands:
        if isinstance(one, Upload):
            text = hashlib.sha256(one.text.encode()).hexdigest()
            actual.files[one.path] = File(f"{one.mode} root root", text, 2000)
    return actual


def test_it_lies_where_proxmox_looks_for_it_and_can_be_run() -> None:
    step = guard.step(WANTED, node(), CARD)
    switch, script = step.commands[1], step.commands[2]
    assert switch == "pvesh set /storage/local --content iso,vztmpl,backup,snippets"
    assert isinstance(script, Upload)
    assert (script.path, script.mode) == ("/var/lib/vz/snippets/hub-my-hub-gpu-guard", "755")
    assert guard_volume(WANTED.hub) == "local:snippets/hub-my-hub-gpu-guard"
    done = after(node("iso,snippets"), step)
    assert guard.step(WANTED, done, CARD).commands == ()


def test_it_goes_with_the_last_card_and_what_others_have_there_stays() -> None:
    actual = after(node("iso,snippets"), guard.step(WANTED, node(), CARD))
    assert guard.step(replace(WANTED, held=("big",)), actual, []).commands == (), "a guest still has it"
    gone = guard.step(WANTED, actual, [])
    assert gone.action == "delete"
    assert gone.commands == (
        f"rm -f {NAMES.guard} {NAMES.snippets}",
        "! rmdir /var/lib/vz/snippets 2>/dev/null || pvesh set /storage/local --content iso",
    )
    assert [one.commands for one in guard.removal(replace(WANTED, removed=True), actual)] == [gone.commands]
    theirs = after(node("iso,snippets"), guard.step(WANTED, node("iso,snippets"), CARD))
    assert guard.step(WANTED, theirs, []).commands == (f"rm -f {NAMES.guard}",), "it held snippets before us"
    assert guard.removal(WANTED, node()) == []


def test_another_storage_under_that_name_is_refused() -> None:
    for entry in ({"type": "nfs"}, {"path": "/mnt/other"}):
        with pytest.raises(RefusedByNode, match="is not the folder /var/lib/vz"):
            guard.step(WANTED, node(**entry), CARD)


@pytest.fixture
def proxmox(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A node whose first card reads as `rev` says."""
    said = {"rev": "a1"}

    def run(argv: list[str], **_: object) -> SimpleNamespace:
        if argv[0] == "lspci":
            return SimpleNamespace(stdout=BUS.format(said["rev"]).encode())
        if argv[2] not in MAPS:
            raise subprocess.CalledProcessError(255, argv)
        return SimpleNamespace(stdout=json.dumps(MAPS[argv[2]]).encode())

    monkeypatch.setattr(guard_on_node.subprocess, "run", run)
    monkeypatch.setattr(guard_on_node.os, "uname", lambda: SimpleNamespace(nodename="pve"))
    return said


@pytest.mark.parametrize(
    ("vmid", "phase", "rev", "code"),
    [
        ("201", "pre-start", "a1", 0),
        ("201", "pre-start", "ff", 1),
        ("201", "post-start", "ff", 0),
        ("201", "post-stop", "ff", 1),
        ("202", "pre-start", "ff", 0),
        ("203", "pre-start", "ff", 0),
        ("999", "pre-start", "ff", 0),
    ],
)
def test_a_start_is_refused_for_the_guest_s_own_dead_card_alone(
    proxmox: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    vmid: str,
    phase: str,
    rev: str,
    code: int,
) -> None:
    proxmox["rev"] = rev
    monkeypatch.setattr(guard_on_node.sys, "argv", ["guard", vmid, phase])
    assert guard_on_node.main() == code
    assert ("card big (0000:01:00) does not answer" in capsys.readouterr().out) == bool(code)
