"""The PCI bus: what the node lists, and what Proxmox VE says of a card at the start of a machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pve_server import Server, start, stop
from pvelab.world import boot_tools, lspci

QEMU, BUS = "/nodes/pve/qemu", "/pvelab/pci"
WRONG = "PCI device mapping invalid (hardware probably changed): "
WHOLE = {"node": "pve", "path": "0000:01:00", "id": "10de:2b85", "subsystem-id": "1043:89e4", "iommugroup": "14"}


def function(address: str, kind: str, device: str, **more: Any) -> dict[str, Any]:
    found = {"address": address, "kind": kind, "vendor": "10de", "device": device, "group": 14}
    return {**found, "subsystem_vendor": "1043", "subsystem_device": "89e4", "driver": "nouveau", **more}


CARD = [function("0000:01:00.0", "030000", "2b85"), function("0000:01:00.1", "040300", "22e8", driver="snd_hda_intel")]
SECOND = [function("0000:05:00.0", "030000", "2b85", group=17), function("0000:05:00.1", "040300", "22e8", group=17)]
MEMORY = function("0000:00:1f.4", "0c0500", "7a23", group=3, driver="")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pci")
    (folder / "node.json").write_text(json.dumps({"pci": [*CARD, MEMORY], "gpus": [{"name": "X", "id": "10de:2204"}]}))
    found = start(folder / "state", "--config", str(folder / "node.json"))
    yield found
    stop(found)


@pytest.fixture
def pve(server: Server) -> Iterator[Server]:
    """A node with one card; what a test plugs elsewhere is put back."""
    yield server
    plug(server, [*CARD, MEMORY])
    server.call("DELETE", "/cluster/mapping/pci/gpu")


def plug(server: Server, devices: list[dict[str, Any]]) -> None:
    body = json.dumps({"devices": devices})
    answer = server.call("PUT", BUS, body=body, headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer.text


def mapped(pve: Server, *maps: dict[str, str | None]) -> None:
    texts = [",".join(f"{key}={value}" for key, value in {**WHOLE, **one}.items() if value) for one in maps]
    pve.call("DELETE", "/cluster/mapping/pci/gpu")
    assert pve.call("POST", "/cluster/mapping/pci", {"id": "gpu", "map": texts}).status == 200


def begun(pve: Server, vmid: int) -> str:
    return pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/start"))


def checks(pve: Server) -> list[str]:
    (listed,) = pve.get("/cluster/mapping/pci", **{"check-node": "pve"})
    return [one["message"].strip() for one in listed["checks"]]


def test_the_node_lists_its_bus_without_what_nobody_passes_on(pve: Server) -> None:
    listed = pve.get("/nodes/pve/hardware/pci")
    assert [one["id"] for one in listed] == ["0000:01:00.0", "0000:01:00.1", "0000:00:1f.4"]
    assert listed[0]["vendor"] == "0x10de"
    assert (listed[0]["subsystem_vendor"], listed[0]["subsystem_device"]) == ("0x1043", "0x89e4")
    assert (listed[0]["class"], listed[0]["iommugroup"]) == ("0x030000", 14)
    brief = pve.get("/nodes/pve/hardware/pci", **{"pci-class-blacklist": "0c;04", "verbose": 0})
    assert [set(one) for one in brief] == [{"id", "vendor", "device", "class", "iommugroup"}]


def test_a_bus_that_is_no_bus_is_refused(pve: Server) -> None:
    bad = json.dumps({"devices": [{"address": "0000:01:00.0", "colour": "green"}]})
    answer = pve.call("PUT", BUS, body=bad, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert "devices" in answer.errors


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({}, ""),
        ({"path": "0000:01:00.0"}, ""),
        ({"path": "0000:09:00"}, "pci device '0000:09:00.0' not found"),
        ({"path": "0000:01:00.7"}, "pci device '0000:01:00.7' not found"),
        ({"id": "10de:2204"}, "'id' does not match for 'gpu' (10de:2b85 != 10de:2204)"),
        ({"iommugroup": "15"}, "'iommugroup' does not match for 'gpu' (14 != 15)"),
        ({"iommugroup": None}, "missing expected property 'iommugroup' for device '0000:01:00.0'"),
        ({"subsystem-id": "1043:0001"}, "'subsystem-id' does not match for 'gpu' (1043:89e4 != 1043:0001)"),
        ({"subsystem-id": None}, "missing expected property 'subsystem-id' for device '0000:01:00.0'"),
    ],
)
def test_a_mapping_is_compared_with_the_bus_at_each_start(pve: Server, wrong: dict[str, str | None], text: str) -> None:
    mapped(pve, wrong)
    vmid = pve.machine(machine="q35", hostpci0="mapping=gpu,pcie=1")
    assert checks(pve) == ([f"Invalid configuration: {text}"] if text else [])
    assert begun(pve, vmid) == (f"{WRONG}{text}" if text else "OK")
    if not text:
        pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/stop"))


def test_a_board_without_a_maker_has_no_subsystem_to_name(pve: Server) -> None:
    plug(pve, [{**CARD[0], "subsystem_vendor": "", "subsystem_device": ""}])
    mapped(pve, {})
    assert checks(pve) == [
        "Invalid configuration: unexpected property 'subsystem-id' configured for device '0000:01:00.0'"
    ]
    mapped(pve, {"subsystem-id": None})
    assert checks(pve) == []


def test_a_mapping_of_another_node_is_none_here(pve: Server) -> None:
    mapped(pve, {"node": "pve2"})
    vmid = pve.machine(machine="q35", hostpci0="mapping=gpu")
    assert begun(pve, vmid) == "PCI device mapping not found for 'gpu'"


def test_a_card_serves_one_machine_at_a_time(pve: Server) -> None:
    mapped(pve, {})
    first = pve.machine(machine="q35", hostpci0="mapping=gpu")
    second = pve.machine(machine="q35", hostpci3="01:00.1")
    assert begun(pve, first) == "OK"
    assert begun(pve, second) == f"PCI device '0000:01:00.1' already in use by VMID '{first}'"
    assert pve.done(pve.call("POST", f"{QEMU}/{first}/status/stop")) == "OK"
    assert begun(pve, second) == "OK"
    pve.done(pve.call("POST", f"{QEMU}/{second}/status/stop"))


def test_of_several_cards_the_first_free_one_is_taken(pve: Server) -> None:
    plug(pve, [*CARD, *SECOND])
    mapped(pve, {}, {"path": "0000:05:00", "iommugroup": "17"})
    three = [pve.machine(machine="q35", hostpci0="mapping=gpu") for _ in range(2)]
    third = pve.machine(machine="q35", hostpci0="mapping=gpu")
    assert begun(pve, three[0]) == "OK"
    # The emulated node does not say which of its choices a machine has taken: it counts as holding them all.
    assert begun(pve, third) == "could not find a free device for 'hostpci0'"
    pve.done(pve.call("POST", f"{QEMU}/{three[0]}/status/stop"))


def test_without_an_iommu_nothing_is_passed_through(pve: Server) -> None:
    plug(pve, [{**one, "group": -1} for one in CARD])
    vmid = pve.machine(machine="q35", hostpci0="01:00")
    assert begun(pve, vmid) == "cannot prepare PCI pass-through, IOMMU not present"


def test_only_root_plugs_and_a_token_uses_what_it_may(pve: Server) -> None:
    mapped(pve, {})
    pve.call("POST", "/access/users", {"userid": "eve@pve"})
    secret = pve.call("POST", "/access/users/eve@pve/token/t1", {"privsep": 0}).data["value"]
    eve = pve.as_token(f"eve@pve!t1={secret}")
    assert eve.call("GET", BUS).status == 403
    vmid = pve.machine(machine="q35")
    pve.call("PUT", "/access/acl", {"path": f"/vms/{vmid}", "roles": "PVEVMAdmin", "users": "eve@pve"})
    wanted = {"hostpci0": "mapping=gpu,pcie=1"}
    refused = eve.call("PUT", f"{QEMU}/{vmid}/config", wanted)
    assert (refused.status, refused.reason) == (403, "Permission check failed (/mapping/pci/gpu, Mapping.Use)")
    pve.call("PUT", "/access/acl", {"path": "/mapping/pci/gpu", "roles": "PVEMappingUser", "users": "eve@pve"})
    assert eve.call("PUT", f"{QEMU}/{vmid}/config", wanted).status == 200
    pve.call(
        "PUT", "/access/acl", {"path": "/mapping/pci/gpu", "roles": "PVEMappingUser", "users": "eve@pve", "delete": 1}
    )
    assert eve.call("PUT", f"{QEMU}/{vmid}/config", {"delete": "hostpci0"}).status == 403, "not without it either"


def test_the_nodes_lspci_shows_the_drivers_that_it_was_booted_with() -> None:
    device = {"revision": "a1", **CARD[0]}
    assert "Driver:\tnouveau\n" in lspci.block(device, set(), set())
    assert "Driver" not in lspci.block(device, set(), {"nouveau"})
    ids, barred = lspci.claimed(["options vfio-pci ids=10de:2b85,10DE:22E8 disable_vga=1", "blacklist nouveau"])
    assert (ids, barred) == ({"10de:2b85", "10de:22e8"}, {"nouveau"})
    text = lspci.block(device, ids, barred)
    assert "Driver:\tvfio-pci\n" in text
    assert text.startswith("Slot:\t0000:01:00.0\nClass:\t0300\n")
    assert text.endswith("IOMMUGroup:\t14\n\n")
    assert "IOMMUGroup" not in lspci.block({**device, "group": -1}, ids, barred)


def test_the_nodes_lspci_shows_what_its_own_driver_has_unless_vfio_took_it_at_boot() -> None:
    device = {"revision": "a1", **CARD[0]}
    driven = [device["address"]]
    assert "Driver:\tnvidia\n" in lspci.block(device, set(), {"nouveau"}, driven)
    assert "Driver:\tvfio-pci\n" in lspci.block(device, {"10de:2b85"}, set(), driven)


def test_a_boot_loads_no_driver_by_itself(node: Path) -> None:
    kept = node / "driver" / "proc" / "nvidia"
    kept.mkdir(parents=True)
    (kept / "version").write_text("580")
    (node / "driver" / "module").write_text("580")
    assert boot_tools.boot() == 0
    assert [path for path in (node / "driver").rglob("*") if path.is_file()] == []
    assert kept.is_dir(), "containers have it mounted"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of a node for the boot tools."""
    for name in ("ASIDE", "BOOTED", "DRIVER", "MODPROBE", "CMDLINE", "GRUB", "UUIDS", "PIN"):
        monkeypatch.setattr(boot_tools, name, tmp_path / name.lower())
    (tmp_path / "modprobe").mkdir()
    return tmp_path


def test_what_the_boot_tools_were_told_is_in_force_after_a_boot_and_not_before(node: Path) -> None:
    (node / "modprobe" / "a.conf").write_text("# a remark\noptions vfio-pci ids=10de:2b85\n\n")
    assert boot_tools.update_initramfs(["-u", "-k", "all"]) == 0
    assert not (node / "booted").exists()
    (node / "modprobe" / "b.conf").write_text("blacklist nouveau\n")
    assert boot_tools.boot() == 0
    assert json.loads((node / "booted" / "modprobe.json").read_text()) == ["options vfio-pci ids=10de:2b85"]


def test_the_boot_tools_read_what_the_real_ones_read(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (node / "grub").write_text('GRUB_CMDLINE_LINUX_DEFAULT="quiet iommu=pt"\n')
    assert boot_tools.boot_tool(["refresh"]) == 0
    assert (node / "aside" / "cmdline").read_text() == "quiet iommu=pt\n"
    assert boot_tools.boot_tool(["status"]) == 2
    (node / "uuids").write_text("5A7A-8E5B\n")
    (node / "cmdline").write_text("boot=zfs iommu=pt\n")
    assert boot_tools.boot_tool(["refresh"]) == 0
    assert (node / "aside" / "cmdline").read_text() == "boot=zfs iommu=pt\n"
    assert boot_tools.boot_tool(["status"]) == 0
    out = capsys.readouterr().out
    assert "5A7A-8E5B is configured with: uefi" in out
    assert "(of the lab)" in out
    assert boot_tools.boot_tool(["kernel", "pin", "6.17.2-1-pve"]) == 0
    assert (node / "pin").read_text() == "6.17.2-1-pve\n"
    assert boot_tools.boot_tool(["kernel", "unpin"]) == 0
    assert not (node / "pin").exists()


@pytest.mark.parametrize("words", [["kernel", "pin"], ["kernel", "pin", "a b"], ["init"], []])
def test_what_the_lab_does_not_know_it_does_not_do(node: Path, words: list[str]) -> None:
    assert boot_tools.boot_tool(words) == 1
    assert boot_tools.update_initramfs(words) == 1


def test_a_card_that_is_dead_keeps_its_machine_from_starting(pve: Server) -> None:
    plug(pve, [{**one, "revision": "ff"} for one in CARD])
    mapped(pve, {})
    made = {"vmid": 161, "machine": "q35", "hostpci0": "mapping=gpu,pcie=1"}
    assert pve.done(pve.call("POST", QEMU, made)) == "OK"
    assert begun(pve, 161) == "start failed: QEMU exited with code 1"


def test_a_card_that_does_not_come_back_from_a_reset_is_dead_after_the_stop(pve: Server) -> None:
    mapped(pve, {})
    made = {"vmid": 162, "machine": "q35", "hostpci0": "mapping=gpu,pcie=1"}
    assert pve.done(pve.call("POST", QEMU, made)) == "OK"
    assert begun(pve, 162) == "OK"
    assert pve.call("POST", "/pvelab/faults", {"kind": "card-dead", "path": "/162/status/stop"}).status == 200
    assert pve.done(pve.call("POST", f"{QEMU}/162/status/stop")) == "OK"
    assert [one["revision"] for one in pve.get(BUS)] == ["ff", "ff", "a1"]
    assert begun(pve, 162) == "start failed: QEMU exited with code 1"


def test_a_hook_script_is_a_snippet_that_can_be_run(pve: Server, server: Server) -> None:
    assert pve.done(pve.call("POST", QEMU, {"vmid": 163})) == "OK"
    lost = pve.call("PUT", f"{QEMU}/163/config", {"hookscript": "local:snippets/guard"})
    assert "does not exist" in lost.text
