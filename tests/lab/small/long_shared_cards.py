"""A card stays with its node's driver: given to containers, lost, found again, passed to a VM, and shared again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.cli import Api, Cli
from tests.lab.small.long_cards import BOOT, LISTED, LOSE, RESET, bus, checked, machine, mapping, plug
from tests.lab.small.long_node import node, refused
from tests.lab.small.test_2_edits import Files, come_true, files

__all__ = ["files"]
pytestmark = pytest.mark.lab
APP = "stacks: [client, notes]}\n"
WORKER = "  worker: {vmid: 312, kind: lxc, zone: public, address: 10.20.30.12, cores: 1, memory: 1GiB, disk: 8GiB"
OTHER = (
    "  other: {vmid: 313, kind: lxc, zone: public, address: 10.20.30.13, cores: 1, memory: 1GiB, disk: 8GiB, gpu: big"
)
SIMULATED = "RTX 5090 (simulated)"
DRIVER = (
    f"{BOOT}; ls /etc/apt/*.d /etc/apt/keyrings; dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' 'nvidia*' "
    "2>/dev/null | grep installed; apt-mark showhold; true"
)
INSIDE = (
    "apt-mark showhold; ls -d /dev/nvidia* /run/cdi/* /dev/lab-cards/0* /etc/apt/*.d/*nvidia* 2>/dev/null; "
    "systemctl list-units --state=failed --no-legend --plain; grep features /etc/docker/daemon.json; "
    "docker inspect cruncher-cruncher-1 --format '{{json .HostConfig.DeviceRequests}}'"
)


def devices(hub: Cli, vmid: int = 312) -> dict[str, str]:
    """The device nodes that Proxmox gives a container."""
    found: dict[str, Any] = Api(hub)("GET", f"/nodes/pve/lxc/{vmid}/config")
    return {key: value for key, value in found.items() if key.startswith("dev")}


def kept(hub: Cli) -> list[str]:
    """All that a shared card changes on the node."""
    looks = node(hub)
    return [*(looks[name] for name in ("files", "rights", "pools", "units")), hub.on("node", DRIVER)]


def failed(hub: Cli) -> list[str]:
    return checked(hub, "worker", "cruncher@worker")[1]


@pytest.fixture
def worker(hub: Cli, files: Files) -> Iterator[list[str]]:
    """What the node was like before `worker` shares its card; worker is there, and the card on the bus."""
    before = kept(hub)
    card = '    gpus: {big: {id: "10de:2b85", vram: 32GiB, mode: lxc}}\n'
    files.edit("hub.yml", "    lab: {cores: 4", f"{card}    lab: {{cores: 4")
    hub("up", "--no-verify")  # the lab has the card now
    files.edit("hub.yml", APP, f"{APP}{WORKER}, stacks: [cruncher]}}\n")
    hub.ok("up", "--no-verify")
    yield before
    files.put_back(hub)
    for name in ("worker", "other"):  # one that is not there any more is refused
        hub("up", "--no-verify", "--allow-reboot", "pve", RESET, "--allow-destroy", name)
    hub.on("node", "rm -f /dev/lab-driver/cards /dev/lab-driver/module")  # else it is loaded until a boot


def test_containers_share_a_card_and_give_it_back(hub: Cli, files: Files, worker: list[str]) -> None:
    without, alone = hub.on("worker", INSIDE), kept(hub)
    assert without == "null", "no card, and none asked for"
    files.edit("hub.yml", WORKER, f"{WORKER}, gpu: big")
    come_true(hub, "worker", "node pve")
    paths = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
    assert devices(hub) == {f"dev{number}": f"{path},mode=0666" for number, path in enumerate(paths)}
    assert SIMULATED in hub.on("worker", LISTED)
    assert "vfio" not in hub.on("node", "lspci -Dvmmnk; ls /etc/modprobe.d")
    assert "nvidia-modprobe" not in hub.on("worker", "cat /etc/systemd/system/hub-card.service; apt-mark showhold")
    assert mapping(hub) == []
    assert failed(hub) == []

    files.edit("hub.yml", f"{WORKER}, gpu", f"{OTHER}, stacks: [cruncher]}}\n{WORKER}, gpu")
    come_true(hub, "other")
    assert devices(hub, 313) == devices(hub)
    assert SIMULATED in hub.on("other", LISTED)
    files.edit("hub.yml", f"{OTHER}, stacks: [cruncher]}}\n", "")
    come_true(hub, "other", allow=("other",))

    files.edit("hub.yml", ", gpu: big", "")
    come_true(hub, "worker", "node pve")
    assert devices(hub) == {}
    assert hub.on("worker", INSIDE) == without
    assert kept(hub) == alone
    files.put_back(hub)
    hub.ok("up", "--no-verify", "--allow-destroy", "worker")
    assert kept(hub) == worker


def test_what_is_broken_is_seen_and_mended(hub: Cli, files: Files, worker: list[str]) -> None:
    files.edit("hub.yml", WORKER, f"{WORKER}, gpu: big")
    come_true(hub, "worker", "node pve")
    assert failed(hub) == []
    hub.on("worker", LOSE)
    assert any("in its container: NVIDIA-SMI has failed" in text for text in failed(hub))
    hub.ok("restart", "cruncher@worker")
    assert failed(hub) == []
    hub.on("worker", "umount /dev/nvidia-uvm")
    assert any("without /dev/nvidia-uvm: aihub restart worker" in text for text in failed(hub))
    hub.ok("restart", "worker")
    hub.settles()
    assert failed(hub) == []

    hub.on("node", "umount /dev/nvidia-uvm; rm /dev/nvidia-uvm; apt-mark unhold nvidia-driver-cuda")
    (change,) = hub.plan()[1]["changes"]
    assert change["subject"] == "node pve: driver of shared cards"
    come_true(hub, "node pve")
    hub.on("node", "echo 570.10.01 >/dev/lab-driver/module; nvidia-modprobe")
    assert any("module is 570.10.01, the libraries are 580.173: aihub up --full worker" in one for one in failed(hub))
    hub.on("node", "rm /dev/lab-driver/module; nvidia-modprobe")
    assert failed(hub) == []


def test_a_card_changes_its_mode_with_a_boot_while_nobody_has_it(hub: Cli, files: Files, worker: list[str]) -> None:
    plug(hub, bus())  # held by nouveau
    files.edit("hub.yml", WORKER, f"{WORKER}, gpu: big")
    done = hub("up", "--no-verify")
    assert (done.returncode, "systemctl reboot" in done.stderr) == (1, True), done.stderr
    assert devices(hub) == {}
    hub.ok("up", "--no-verify", "--allow-reboot", "pve")
    assert SIMULATED in hub.on("worker", LISTED)
    assert hub.plan()[0] == 0

    files.edit("hub.yml", ", mode: lxc", "")
    files.edit("hub.yml", f"{WORKER}, gpu: big", WORKER)
    files.edit("hub.yml", "disk: 8GiB, stacks: [client", "disk: 8GiB, gpu: big, stacks: [client")
    refused(hub, 4, "guest worker shares a card of the node's own driver", "while nobody has it")
    files.edit("hub.yml", "disk: 8GiB, gpu: big, stacks: [client", "disk: 8GiB, stacks: [client")
    come_true(hub, "worker", "node pve")
    files.edit("hub.yml", "disk: 8GiB, stacks: [client", "disk: 8GiB, gpu: big, stacks: [client")
    hub.ok("up", "--no-verify", "--allow-reboot", "pve")
    assert machine(hub)["hostpci0"] == "mapping=big,pcie=1"
    assert "vfio-pci" in hub.on("node", "lspci -Dvmmnk")
    assert hub.plan()[0] == 0

    files.edit("hub.yml", "vram: 32GiB", "vram: 32GiB, mode: lxc")
    files.edit("hub.yml", "disk: 8GiB, gpu: big, stacks: [client", "disk: 8GiB, stacks: [client")
    files.edit("hub.yml", WORKER, f"{WORKER}, gpu: big")
    refused(hub, 4, "guest app has card big passed to it, and hub.yml says `mode: lxc`", "while nobody has it")
    files.edit("hub.yml", f"{WORKER}, gpu: big", WORKER)
    come_true(hub, "app", "node pve", told=(RESET,))
    files.edit("hub.yml", WORKER, f"{WORKER}, gpu: big")
    hub.ok("up", "--no-verify", "--allow-reboot", "pve")
    assert SIMULATED in hub.on("worker", LISTED)
    assert "Driver:\tnvidia" in hub.on("node", "lspci -Dvmmnk")
    assert hub.plan()[0] == 0
