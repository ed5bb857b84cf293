"""A card is given to a VM and its containers, held back by what a node can have, lost, found again, and taken out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.cli import Api, Cli
from tests.lab.small.long_node import node
from tests.lab.small.test_2_edits import Files, come_true, files

__all__ = ["files"]
pytestmark = pytest.mark.lab
BOOT = (
    "find /etc/modprobe.d /etc/modules-load.d /etc/default/grub.d /etc/udev/rules.d /etc/hub-node/small -type f "
    "2>/dev/null | sort; cat /etc/kernel/proxmox-boot-pin 2>/dev/null; ls /var/lib/vz/snippets; true"
)
INSIDE = (
    "apt-mark showhold; ls -d /dev/nvidia* /run/cdi/* /dev/lab-cards/0* /etc/apt/*.d/*nvidia* 2>/dev/null; "
    "systemctl list-units --state=failed --no-legend --plain; grep features /etc/docker/daemon.json; "
    "docker inspect cruncher-cruncher-1 --format '{{json .HostConfig.DeviceRequests}}'"
)
"""All that a card brings into a guest but packages; with the instance that uses it, whether there is a card or not."""
RESET = "--allow-gpu-reset"
LISTED = "systemctl daemon-reload; docker exec cruncher-cruncher-1 nvidia-smi -L"
LOSE = (
    "python3 -c 'import ctypes, os, sys; libc = ctypes.CDLL(None); os.setns(os.open(sys.argv[1], 0)); "
    'sys.exit(libc.umount2(b"/dev/nvidiactl", 2))\' '
    "/proc/$(docker inspect -f '{{.State.Pid}}' cruncher-cruncher-1)/ns/mnt"
)
"""Takes a device node away from a container that runs, whose image has no program for that."""
NETWORK_CARD = {
    "address": "0000:02:00.0",
    "kind": "020000",
    "vendor": "8086",
    "device": "125c",
    "group": 15,
    "driver": "igc",
}


def bus(
    slot: str = "0000:01:00", group: int = 14, driver: str = "nouveau", shared: bool = False
) -> list[dict[str, Any]]:
    """A node with one card and a network card."""
    board = {"vendor": "10de", "subsystem_vendor": "1043", "subsystem_device": "89e4", "group": group}
    return [
        {"address": f"{slot}.0", "kind": "030000", "device": "2b85", "driver": driver, **board},
        {"address": f"{slot}.1", "kind": "040300", "device": "22e8", "driver": "", **board},
        {**NETWORK_CARD, "group": group} if shared else NETWORK_CARD,
    ]


def plug(hub: Cli, devices: list[dict[str, Any]]) -> None:
    api = Api(hub)
    answer = api.session.put(f"{api.base}/pvelab/pci", json={"devices": devices}, timeout=30)
    assert answer.ok, answer.text


def machine(hub: Cli) -> dict[str, Any]:
    found: dict[str, Any] = Api(hub)("GET", "/nodes/pve/qemu/311/config")
    return found


def mapping(hub: Cli) -> list[str]:
    return [text for one in Api(hub)("GET", "/cluster/mapping/pci") for text in one["map"]]


def kept(hub: Cli) -> list[str]:
    """All that a card changes on the node; ports of guests are new after each start."""
    looks = node(hub)
    return [*(looks[name] for name in ("files", "rights", "pools", "units")), hub.on("node", BOOT)]


def checked(hub: Cli, *names: str) -> tuple[int, list[str]]:
    """How `verify` of the guest and of what uses its card ends, and what failed, each on one line."""
    done = hub("verify", *(names or ("app", "cruncher@app")), "--json")
    assert done.returncode in (0, 7), done.stderr
    failed = [one for one in json.loads(done.stdout)["checks"] if one["outcome"] == "failed"]
    return done.returncode, [" ".join(one["message"].split()) for one in failed]


@pytest.fixture
def card(hub: Cli, files: Files) -> Iterator[list[str]]:
    """What the node was like before `app` was given a card in hub.yml; the card is on its bus from then on."""
    before = kept(hub)
    files.edit("hub.yml", "    lab: {cores: 4", '    gpus: {big: {id: "10de:2b85", vram: 32GiB}}\n    lab: {cores: 4')
    hub("up", "--no-verify")  # the lab has the card now
    files.edit("hub.yml", "stacks: [client, notes]}", "stacks: [client, notes, cruncher]}")
    hub.ok("up", "--no-verify")
    files.edit("hub.yml", "disk: 8GiB, stacks: [client", "disk: 8GiB, gpu: big, stacks: [client")
    yield before
    files.put_back(hub)
    hub("up", "--no-verify", "--allow-reboot", "pve", RESET)


def test_a_card_is_put_in_moves_and_is_taken_out(hub: Cli, files: Files, card: list[str]) -> None:
    without = hub.on("app", INSIDE)
    assert without == "null", "no card, and none asked for"
    come_true(hub, "app", "node pve")
    found = machine(hub)
    assert {key: found[key] for key in ("hostpci0", "machine", "bios", "balloon", "vga")} == {
        "hostpci0": "mapping=big,pcie=1", "machine": "q35", "bios": "ovmf", "balloon": 0, "vga": "serial0",
    }  # fmt: skip
    assert "pre-enrolled-keys=0" in found["efidisk0"]
    assert found["hookscript"] == "local:snippets/hub-small-gpu-guard"
    assert "vfio-pci ids=10de:22e8,10de:2b85" in hub.on("node", "cat /etc/modprobe.d/hub-cards-small.conf")
    assert "RTX 5090 (simulated)" in hub.on("app", LISTED)
    assert checked(hub) == (0, [])

    plug(hub, bus("0000:05:00", 21, driver=""))
    assert "GPU is lost" in checked(hub)[1][0], "it left the slot under its running guest"
    come_true(hub, "node pve")
    assert mapping(hub) == ["node=pve,path=0000:05:00,id=10de:2b85,subsystem-id=1043:89e4,iommugroup=21"]
    done = hub("restart", "app")
    assert (done.returncode, RESET in done.stderr, "systemctl reboot" in done.stderr) == (4, True, True)
    hub.ok("restart", "app", RESET)
    hub.settles()
    assert "RTX 5090 (simulated)" in hub.on("app", LISTED)

    files.edit("hub.yml", ", gpu: big", "")
    done = hub("up", "--no-verify")
    assert (done.returncode, RESET in done.stderr) == (4, True)
    assert "hostpci0" in machine(hub)
    come_true(hub, "app", "node pve", told=(RESET,))
    assert not {"hostpci0", "hookscript"} & machine(hub).keys()
    assert mapping(hub) == []
    assert hub.on("app", INSIDE) == without
    files.put_back(hub)
    hub.ok("up", "--no-verify")
    assert kept(hub) == card


def test_what_is_broken_inside_is_seen_and_mended(hub: Cli, card: list[str]) -> None:
    come_true(hub, "app", "node pve")
    assert checked(hub) == (0, [])
    hub.on("app", LOSE)
    assert any("in its container: NVIDIA-SMI has failed" in text for text in checked(hub)[1])
    hub.ok("restart", "cruncher@app")
    assert checked(hub) == (0, [])
    hub.on("app", "rm /run/cdi/nvidia.yaml")
    assert "it offers none" in checked(hub)[1][0]
    hub.on("app", "systemctl restart hub-card && apt-mark unhold nvidia-driver-cuda")
    assert checked(hub) == (0, [])
    code, plan = hub.plan()
    (change,) = plan["changes"]
    assert (code, change["summary"], change["restart"]) == (3, "package nvidia-driver-cuda is no longer held", False)
    come_true(hub, "app")
    hub.on("app", "cd /opt/hub/cruncher && docker compose --file compose.yml up --detach --wait")
    assert any("nvidia-smi" in text for text in checked(hub)[1]), "a container that was made without the card"
    come_true(hub, "app")
    hub.on("app", "echo 570.10.01 >/run/lab-nvidia/module && nvidia-modprobe")
    assert any("the loaded module is 570.10.01, the libraries are 580.173" in text for text in checked(hub)[1])
    hub.on("app", "docker network rm cruncher_default; systemctl reboot || true")  # from inside: no reset
    time.sleep(5)
    hub.settles(120)
    assert checked(hub) == (0, [])


def test_a_card_that_does_not_come_back_keeps_its_guest_from_starting(hub: Cli, card: list[str]) -> None:
    come_true(hub, "app", "node pve")
    api = Api(hub)
    there = api("GET", "/pvelab/pci")
    fault = {"kind": "card-dead", "path": "/311/status/(shutdown|stop)"}
    assert api.session.post(f"{api.base}/pvelab/faults", json=fault, timeout=30).ok
    done = hub("restart", "app", RESET)
    assert (done.returncode, "the node has to be rebooted" in " ".join(done.stderr.split())) == (1, True)
    done = hub("plan")
    assert (done.returncode, "does not answer (it reads as ff only)" in " ".join(done.stderr.split())) == (4, True)
    plug(hub, there)
    hub.ok("start", "app")
    hub.settles()
    assert "RTX 5090 (simulated)" in hub.on("app", LISTED)


def test_what_only_a_person_can_mend_is_refused_with_everything_as_it_was(hub: Cli, card: list[str]) -> None:
    plug(hub, bus(shared=True))
    for verb in (("plan",), ("up", "--no-verify")):
        done = hub(*verb)
        assert done.returncode == 4, done.stderr
        assert "shares IOMMU group 14 with 0000:02:00.0 8086:125c (network card, driver igc)" in " ".join(
            done.stderr.split()
        )
    plug(hub, [NETWORK_CARD])
    done = hub("up", "--no-verify")
    assert (done.returncode, "has no card 10de:2b85" in " ".join(done.stderr.split())) == (4, True)
    assert "hostpci0" not in machine(hub)
    assert mapping(hub) == []


def test_a_node_whose_driver_has_the_card_is_rebooted_by_who_says_so(hub: Cli, card: list[str]) -> None:
    plug(hub, bus())
    done = hub("up", "--no-verify")
    assert done.returncode == 1, "the node was changed"
    assert "systemctl reboot" in done.stderr
    done = hub("up", "--no-verify")
    assert done.returncode == 4, "nothing was changed this time"
    assert "hostpci0" not in machine(hub), "guests are untouched"
    assert hub("up", "--no-verify", "--allow-reboot", "pev").returncode == 2
    said = json.loads(hub.ok("up", "--no-verify", "--json", "--allow-reboot", "pve"))
    assert any("node pve is rebooted" in text for text in said["plan"]["warnings"])
    assert machine(hub)["hostpci0"] == "mapping=big,pcie=1"
    assert "vfio-pci" in hub.on("node", "lspci -Dvmmnk")
    assert hub.plan()[0] == 0
