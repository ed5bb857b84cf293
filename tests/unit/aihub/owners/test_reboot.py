"""The node is rebooted within a run: only when somebody said so, never under our own feet, and until all is back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import names, report, ssh, targets
from aihub.errors import InvalidInput, PreconditionFailed, TaskFailed, Unreachable
from aihub.model.target import LAB, PVE
from aihub.options import Options
from aihub.owners import guests, reboot
from aihub.owners.run import Run
from aihub.proxmox.root import Root
from aihub.proxmox.state import ActualGuest, ActualGuests
from aihub.state.directory import State

from tests.unit.aihub.hubs import small

THEIRS = ActualGuest(900, "vm", "pve", "desktop", "running", config={"smbios1": "uuid=ABCD-1"})
OFF = ActualGuest(901, "vm", "pve", "spare", "stopped", config={})
ELSEWHERE = ActualGuest(902, "lxc", "pve2", "nas", "running", config={})


def ours(status: str) -> ActualGuest:
    config = {"description": f"{names.marker(small().id)} vmid=110 guest=db"}
    return ActualGuest(110, "lxc", "pve", "db", status, config=config)


class Node:
    """The node's ssh: it goes away for some calls after it was told to reboot, and comes back anew."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.boots, self.silent = 1, 0
        self.machine, self.boot = "machine-of-node", "boot-of-node"

    def run(self, _state: State, _alias: str, command: str, **_: object) -> Any:
        self.asked.append(command)
        if command == "systemctl reboot":
            self.boots, self.silent = self.boots + 1, 2
            raise Unreachable("closed by remote host")
        if self.silent:
            self.silent -= 1
            raise Unreachable("no route to host")
        said = f"{self.machine}\n{self.boot}\n" if command.startswith("cat ") else f"@{self.boots}\n"
        return SimpleNamespace(stdout=said.encode(), returncode=0)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Node:
    found = Node()
    monkeypatch.setattr(ssh, "run", found.run)
    monkeypatch.setattr(ssh, "close", lambda state, alias: None)
    monkeypatch.setattr(reboot, "_PAUSE", 0.0)
    for name, text in (("_MACHINE", "mine"), ("_BOOT", "my-boot"), ("_BOARD", "ffff-9")):
        (tmp_path / name).write_text(text + "\n")
        monkeypatch.setattr(reboot, name, tmp_path / name)
    return found


@pytest.fixture
def run(tmp_path: Path, node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with ExitStack() as stack:
        options, hub = Options(allow_reboot=frozenset({"pve"})), replace(small(), target=PVE)
        found = Run(options, hub, State(tmp_path), targets.chosen(options, hub), report, stack, "up")
        found.guests = ActualGuests({g.vmid: g for g in (ours("running"), THEIRS, OFF, ELSEWHERE)})
        found.reboot = "card rtx5090 is held by nouveau"
        monkeypatch.setattr(guests, "read", lambda run: found.guests)
        monkeypatch.setattr(Root, "get", lambda self, path, **_: THEIRS.config)
        yield found


class Progress:
    """What is told of each subject."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, subject: str, text: str) -> None:
        self.told.append(text)

    done = failed = __call__


def test_who_stops_with_the_node_is_said_before(run: Run) -> None:
    (said,) = reboot.warning(run)
    assert "desktop (VMID 900)" in said
    assert not any(name in said for name in ("spare", "nas", "db ("))
    run.options = Options()
    assert reboot.warning(run) == ()


def test_a_node_that_is_not_the_hubs_is_no_node(run: Run) -> None:
    reboot.require_known(run)
    run.options = Options(allow_reboot=frozenset({"pve", "pev"}))
    with pytest.raises(InvalidInput, match="there is no node pev"):
        reboot.require_known(run)


def test_the_run_goes_on_when_the_node_and_its_guests_are_back(run: Run, node: Node, monkeypatch) -> None:
    states = iter(["stopped", "stopped", "running"])

    def read(_: Run) -> ActualGuests:
        return ActualGuests({110: ours(next(states))})

    monkeypatch.setattr(guests, "read", read)
    progress = Progress()
    reboot.perform(run, progress)  # type: ignore[arg-type]
    assert progress.told == ["reboots", "answers again", "rebooted"]
    assert node.asked.count("systemctl reboot") == 1
    assert next(states, "all asked") == "all asked"
    assert run.changed


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("machine", "mine", "it is this very machine"),
        ("boot", "my-boot", "this machine is a container of it"),
    ],
)
def test_a_run_does_not_reboot_what_it_stands_on(run: Run, node: Node, key: str, value: str, why: str) -> None:
    setattr(node, key, value)
    with pytest.raises(PreconditionFailed, match=why):
        reboot.perform(run, Progress())  # type: ignore[arg-type]
    assert "systemctl reboot" not in node.asked
    assert not run.changed


def test_nor_the_node_that_it_is_a_virtual_machine_of(run: Run, node: Node, monkeypatch) -> None:
    reboot._BOARD.write_text("abcd-1\n")
    with pytest.raises(PreconditionFailed, match=r"its guest desktop \(VMID 900\)"):
        reboot.perform(run, Progress())  # type: ignore[arg-type]
    assert "systemctl reboot" not in node.asked


def test_a_labs_node_shares_the_kernel_and_does_not_take_it_along(run: Run, node: Node) -> None:
    node.boot, run.hub = "my-boot", replace(run.hub, target=LAB)
    reboot.perform(run, Progress())  # type: ignore[arg-type]
    assert "systemctl reboot" in node.asked


def test_a_node_that_does_not_come_back_is_a_failure(run: Run, node: Node, monkeypatch) -> None:
    monkeypatch.setattr(reboot, "BOOT_TIME", 0.0)
    with pytest.raises(TaskFailed, match="node pve does not answer after its reboot"):
        reboot.perform(run, Progress())  # type: ignore[arg-type]


def test_a_node_that_answers_without_having_booted_is_not_taken_for_one_that_has(
    run: Run, node: Node, monkeypatch
) -> None:
    monkeypatch.setattr(reboot, "BOOT_TIME", 0.05)
    real = node.run

    def refuses(state: State, alias: str, command: str, **more: object) -> Any:
        if command == "systemctl reboot":
            return SimpleNamespace(stdout=b"", returncode=1)  # as where somebody inhibits it
        return real(state, alias, command, **more)

    monkeypatch.setattr(ssh, "run", refuses)
    with pytest.raises(TaskFailed, match="does not answer after its reboot"):
        reboot.perform(run, Progress())  # type: ignore[arg-type]
