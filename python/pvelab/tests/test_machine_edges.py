"""Rare answers about virtual machines: none there, volumes that are gone, starts that are refused or only warned of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pve_server import Server, start, stop

QEMU, LXC = "/nodes/pve/qemu", "/nodes/pve/lxc"
NONE = "unable to find configuration file for VM 999 on node 'pve'"
BAD = "Parameter verification failed."


def config(pve: Server, vmid: int, **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = pve.get(f"{QEMU}/{vmid}/config", **params)
    return found


def put(pve: Server, vmid: int, **params: Any) -> tuple[int, str, dict[str, str]]:
    answer = pve.call("PUT", f"{QEMU}/{vmid}/config", params)
    return answer.status, answer.message, answer.errors


def ended(pve: Server, method: str, path: str, **params: Any) -> str:
    return pve.done(pve.call(method, path, params))


def remove(pve: Server, volid: str) -> None:
    assert ended(pve, "DELETE", f"/nodes/pve/storage/local/content/{volid}") == "OK"


def created(pve: Server, **options: Any) -> str:
    """How the creation of a machine ends."""
    return ended(pve, "POST", QEMU, vmid=next(pve.vmids), **options)


@pytest.fixture(scope="module")
def m(pve: Server) -> int:
    """A stopped machine."""
    return pve.machine()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A node of two cores with one card."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "node.json").write_text(json.dumps({"node": {"cores": 2}, "gpus": [{"name": "X", "id": "10de:2204"}]}))
    server = start(folder / "state", "--config", str(folder / "node.json"))
    yield server
    stop(server)


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [("POST", f"/status/{verb}", {}) for verb in ("reset", "reboot", "suspend", "resume")]
    + [("GET", "/feature", {"feature": "clone"}), ("POST", "/clone", {"newid": 998, "pool": "nosuch"})],
)
def test_a_machine_that_is_not_there_is_missed_first(
    pve: Server, method: str, path: str, params: dict[str, Any]
) -> None:
    answer = pve.call(method, f"{QEMU}/999{path}", params)
    assert (answer.status, answer.message) == (500, NONE)


def test_stopping_what_is_not_there_fails_in_the_task(pve: Server) -> None:
    assert ended(pve, "POST", f"{QEMU}/999/status/stop") == NONE
    assert ended(pve, "POST", f"{QEMU}/999/status/shutdown") == NONE
    assert {"subdir": "config"} in pve.get(f"{QEMU}/999")
    answer = pve.call("POST", f"{QEMU}/999/status/resume", {"nocheck": 1})
    assert answer.message == "VM 999 not running"


def test_drives_need_volumes_that_exist(pve: Server, m: int) -> None:
    gone = f"local:{m}/vm-{m}-disk-9.raw"
    assert put(pve, m, scsi1=gone) == (500, f"volume '{gone}' does not exist", {})
    missing = "volume 'local:iso/x.iso' does not exist"
    assert put(pve, m, ide2="local:iso/x.iso,media=cdrom")[1] == missing
    assert created(pve, ide2="local:iso/x.iso,media=cdrom").endswith(missing)
    assert put(pve, m, scsi1="/dev/sdz") == (500, "volume /dev/sdz does not exist", {})


def test_a_lost_disk_stops_start_resize_move_and_clone(pve: Server) -> None:
    vmid = pve.machine()
    volid = config(pve, vmid)["scsi0"].partition(",")[0]
    remove(pve, volid)
    text, other = f"volume '{volid}' does not exist", next(pve.vmids)
    assert ended(pve, "POST", f"{QEMU}/{vmid}/status/start") == text
    assert ended(pve, "PUT", f"{QEMU}/{vmid}/resize", disk="scsi0", size="+1G") == text
    moved = ended(pve, "POST", f"{QEMU}/{vmid}/move_disk", disk="scsi0", storage="local", format="qcow2")
    assert moved == text
    assert ended(pve, "POST", f"{QEMU}/{vmid}/clone", newid=other) == f"clone failed: {text}"
    assert pve.call("GET", f"{QEMU}/{other}/config").status == 500


def test_a_lost_root_disk_leaves_no_clone_behind(pve: Server) -> None:
    vmid, other = pve.container(), next(pve.vmids)
    volid = pve.get(f"{LXC}/{vmid}/config")["rootfs"].partition(",")[0]
    remove(pve, volid)
    found = ended(pve, "POST", f"{LXC}/{vmid}/clone", newid=other, full=1)
    assert found == f"clone failed: volume '{volid}' does not exist"
    assert pve.call("GET", f"{LXC}/{other}/config").status == 500
    assert "lock" not in pve.get(f"{LXC}/{vmid}/config")


def test_a_start_warns_of_what_it_ignores(pve: Server) -> None:
    net = "e1000,bridge=vmbr0,mtu=1400"
    disks = {"scsi0": "local:1,iothread=1", "scsi1": "local:1,iothread=1"}
    vmid = pve.machine(**disks, bios="ovmf", net0=net, net1="virtio,mtu=1400")
    answer = pve.call("POST", f"{QEMU}/{vmid}/status/start", {})
    assert pve.done(answer) == "WARNINGS: 5"
    thread = "WARN: iothread is only valid with virtio disk or virtio-scsi-single controller, ignoring"
    assert [line for line in pve.log(answer.data) if line.startswith("WARN")] == [
        "WARN: no efidisk configured! Using temporary efivars disk.",
        thread,
        thread,
        "WARN: netdev net0: ignoring MTU '1400', not using VirtIO",
        "WARN: netdev net1: ignoring MTU '1400', no bridge configured",
    ]
    assert pve.get(f"{QEMU}/{vmid}/status/current")["status"] == "running"
    single = pve.machine(**disks, scsihw="virtio-scsi-single")
    assert ended(pve, "POST", f"{QEMU}/{single}/status/start") == "OK"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hostpci0": "0000:99:00"}, "no PCI device found for '0000:99:00'"),
        ({"hostpci0": "01:00.0;01:00.7"}, "no PCI device found for '01:00.7'"),
        (
            {"hostpci0": "0000:01:00,pcie=1"},
            "q35 machine model is not enabled at /usr/share/perl5/PVE/QemuServer/PCI.pm line 510.",
        ),
        ({"usb0": "mapping=nosuch"}, "USB device mapping not found for 'nosuch'"),
        ({"serial0": "/dev/ttyS9"}, "no such serial device"),
        ({"sockets": 2, "cores": 2}, "MAX 2 vcpus allowed per VM on this node"),
        ({"hostpci0": "99:00", "usb0": "mapping=nosuch", "cores": 3}, "no PCI device found for '99:00'"),
        ({"hostpci0": "01:00,pcie=1", "machine": "q35", "usb0": "spice", "serial0": "socket", "cores": 2}, "OK"),
    ],
)
def test_a_start_needs_the_devices_of_the_node(small: Server, options: dict[str, Any], text: str) -> None:
    vmid = small.machine(**options)
    assert ended(small, "POST", f"{QEMU}/{vmid}/status/start") == text


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("machine", "pc,viommu=intel", "to use Intel vIOMMU please set the machine type to q35"),
        ("machine", "q35,viommu=intel,aw-bits=40", "Intel vIOMMU supports only 39 or 48 bits as address width"),
        ("machine", "q35,aw-bits=40", "cannot set aw-bits if no vIOMMU is configured"),
        ("vga", "none,clipboard=vnc", "vga type none is not compatible with VNC clipboard"),
        ("cores", "+2", "unable to parse value of 'cores' - type check ('integer') failed - got '+2'"),
    ],
)
def test_options_that_do_not_fit(pve: Server, m: int, option: str, value: str, text: str) -> None:
    assert put(pve, m, **{option: value}) == (500, text, {})
    assert option not in config(pve, m)
    vmid = next(pve.vmids)
    assert ended(pve, "POST", QEMU, vmid=vmid, **{option: value}) == f"unable to create VM {vmid} - {text}"


def test_options_that_fit(pve: Server, m: int) -> None:
    assert put(pve, m, machine="q35,viommu=intel,aw-bits=48", vga="std,clipboard=vnc")[0] == 200
    assert put(pve, m, delete="machine,vga")[0] == 200


def test_drives_by_path(pve: Server, m: int) -> None:
    text = {"scsi1": "unable to associate path '/tmp/x' to any storage"}
    assert put(pve, m, scsi1="/tmp/x") == (400, BAD, text)


def test_limits_of_drives(pve: Server, m: int) -> None:
    unparsed = {"scsi1": "unable to parse drive options"}
    for limits in ("mbps_max=5", "bps_max_length=3", "mbps=5,mbps_rd=1", "bps=1048576,mbps=1"):
        assert put(pve, m, scsi1=f"local:1,{limits}") == (400, BAD, unparsed)
        answer = pve.call("POST", QEMU, {"vmid": next(pve.vmids), "scsi1": f"local:1,{limits}"})
        assert (answer.status, answer.errors) == (400, unparsed)
    assert put(pve, m, scsi1="local:1,mbps=5,mbps_max=6")[0] == 200
    limited = pve.machine(scsi0="local:1,bps=1048576")
    assert "mbps=0.000," in config(pve, limited)["scsi0"]


def test_an_archive_that_is_no_file(pve: Server, tmp_path: Path) -> None:
    for archive in ("foo", str(tmp_path / "none.vma")):
        answer = pve.call("POST", QEMU, {"vmid": next(pve.vmids), "archive": archive})
        assert (answer.status, answer.message) == (500, f"can't find file '{archive}'")


def test_values_are_rewritten_when_they_are_stored(pve: Server) -> None:
    vmid = pve.machine(cores=4, args='"-foo"')
    assert config(pve, vmid)["args"] == "-foo"
    assert put(pve, vmid, smp=2)[0] == 200
    found = config(pve, vmid)
    assert found["sockets"] == 2
    assert not {"smp", "cores"} & found.keys()
    assert put(pve, vmid, smp=3, cores="007")[0] == 200
    found = config(pve, vmid)
    assert (found["sockets"], found["cores"], "smp" in found) == (2, 7, False)


def test_an_empty_drive_has_no_size(pve: Server) -> None:
    vmid = pve.machine(ide2="none,media=cdrom")
    assert ended(pve, "PUT", f"{QEMU}/{vmid}/resize", disk="ide2", size="1G") == "unable to parse volume ID 'none'"


def test_a_pending_removal_of_what_is_off_still_shows_it(pve: Server) -> None:
    vmid = pve.machine(numa=0, acpi=1)
    assert ended(pve, "POST", f"{QEMU}/{vmid}/status/start") == "OK"
    assert put(pve, vmid, delete="numa,acpi")[0] == 200
    found = config(pve, vmid)
    assert (found["numa"], "acpi" in found) == (0, False)
    assert config(pve, vmid, current=1)["acpi"] == 1
