"""What PVE 9.2 makes of guests that are changed, cloned, moved, snapshotted, paused: configurations and tasks."""

from __future__ import annotations

import io
import re
import tarfile
from typing import Any

import pytest
from pve_server import Server

pytestmark = pytest.mark.slow  # about forty flows of several tasks each; the refusals beside it are quick
LXC, QEMU = "/nodes/pve/lxc", "/nodes/pve/qemu"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7Zl0nMzvUkzqwZVr0YHqbdIMc5k0PfGYzmFXlrqV2y joe"
MAC = r"BC:24:11(:[0-9A-F]{2}){3}"


def config(pve: Server, base: str, vmid: int, **params: Any) -> dict[str, Any]:
    return dict(pve.get(f"{base}/{vmid}/config", **params))


def change(pve: Server, base: str, vmid: int, **options: Any) -> dict[str, Any]:
    """PUT config (`__` in a name stands for a dash) and the configuration afterwards."""
    answer = pve.call("PUT", f"{base}/{vmid}/config", {k.replace("__", "-"): v for k, v in options.items()})
    assert (answer.status, answer.data) == (200, None), answer.text
    return config(pve, base, vmid)


def ran(pve: Server, method: str, path: str, **params: Any) -> list[str]:
    """The log of a task that must end well; its last line says so."""
    answer = pve.call(method, path, params)
    assert pve.done(answer) == "OK"
    lines = pve.log(answer.data)
    assert lines[-1] == "TASK OK"
    return lines[:-1]


def volumes(pve: Server, vmid: int) -> list[str]:
    found = pve.get("/nodes/pve/storage/local/content", vmid=vmid)
    return sorted(item["volid"] for item in found if item["content"] in ("images", "rootdir"))


# --- disks


def test_formats_and_numbers_of_disks(pve: Server) -> None:
    """A disk is raw unless its format says otherwise, and numbers are counted over all formats."""
    vmid = pve.machine(
        scsi0="local:1", scsi1="local:2,format=qcow2", ide0="local:cloudinit", sata0="local:1,format=vmdk"
    )
    found = config(pve, QEMU, vmid)
    assert found["sata0"] == f"local:{vmid}/vm-{vmid}-disk-0.vmdk,size=1G"
    assert found["scsi0"] == f"local:{vmid}/vm-{vmid}-disk-1.raw,size=1G"
    assert found["scsi1"] == f"local:{vmid}/vm-{vmid}-disk-2.qcow2,size=2G"
    assert found["ide0"] == f"local:{vmid}/vm-{vmid}-cloudinit.qcow2,media=cdrom"
    assert pve.done(pve.call("PUT", f"{QEMU}/{vmid}/resize", {"disk": "sata0", "size": "+1G"})) == (
        "can't resize this image format"
    )


def test_the_root_disk_comes_first(pve: Server) -> None:
    vmid = pve.container(mp0="local:2,mp=/data,backup=1", mp10="local:1,mp=/ten", mp2="local:1,mp=/two")
    found = config(pve, LXC, vmid)
    assert found["rootfs"] == f"local:{vmid}/vm-{vmid}-disk-0.raw,size=1G"
    assert found["mp0"] == f"local:{vmid}/vm-{vmid}-disk-1.raw,mp=/data,backup=1,size=2G"
    assert found["mp2"].startswith(f"local:{vmid}/vm-{vmid}-disk-2.raw,mp=/two")
    assert found["mp10"].startswith(f"local:{vmid}/vm-{vmid}-disk-3.raw,mp=/ten")
    assert [pve.get(f"{LXC}/{vmid}/status/current")[key] for key in ("maxdisk", "disk", "type")] == [1 << 30, 0, "lxc"]


def test_sizes_are_rounded(pve: Server) -> None:
    """Containers' disks are cut to whole MiB, machines' are filled up to whole KiB."""
    container = pve.container(rootfs="local:0.3", mp0="local:0,mp=/data")
    found = config(pve, LXC, container)
    assert found["rootfs"] == f"local:{container}/vm-{container}-disk-0.raw,size=307M"
    assert found["mp0"] == f"local:{container}/subvol-{container}-disk-1.subvol,mp=/data,size=0T"
    machine = pve.machine(scsi0="local:0.3")
    assert config(pve, QEMU, machine)["scsi0"].endswith(",size=314573K")


def test_disks_with_a_life_of_their_own(pve: Server) -> None:
    """EFI variables and TPM state have fixed sizes; enrolled keys name their certificate."""
    vmid = pve.machine(bios="ovmf", efidisk0="local:1,efitype=4m,pre-enrolled-keys=1", tpmstate0="local:1,version=v2.0")
    found = config(pve, QEMU, vmid)
    name = f"local:{vmid}/vm-{vmid}-disk"
    assert found["efidisk0"] == f"{name}-0.raw,efitype=4m,ms-cert=2023k,pre-enrolled-keys=1,size=528K"
    assert found["tpmstate0"] == f"{name}-2.raw,size=4M,version=v2.0"
    old = pve.machine(efidisk0="local:1")
    assert config(pve, QEMU, old)["efidisk0"].endswith(",size=128K")
    text = found["tpmstate0"].replace("v2.0", "v1.2")
    refused = pve.call("PUT", f"{QEMU}/{vmid}/config", {"tpmstate0": text})
    assert refused.message == "cannot change TPM state version after creation"


def test_mount_points_are_printed_again(pve: Server) -> None:
    """PUT of an existing volume gets its size back; a deleted one becomes unused, a re-added one no longer is."""
    vmid = pve.container(mp0="local:2,mp=/data")
    volid = f"local:{vmid}/vm-{vmid}-disk-1.raw"
    assert change(pve, LXC, vmid, delete="mp0")["unused0"] == volid
    found = change(pve, LXC, vmid, mp3=f"backup=0,mp=/other,volume={volid}")
    assert found["mp3"] == f"{volid},mp=/other,backup=0,size=2G"
    assert "unused0" not in found
    change(pve, LXC, vmid, delete="mp3")
    assert "unused0" not in change(pve, LXC, vmid, delete="unused0")
    assert volumes(pve, vmid) == [f"local:{vmid}/vm-{vmid}-disk-0.raw"]


def test_a_replaced_disk_becomes_unused_and_force_removes_it(pve: Server) -> None:
    vmid = pve.machine(scsi0="local:1", boot="order=scsi0;net0")
    found = change(pve, QEMU, vmid, scsi0="local:2")
    assert found["scsi0"] == f"local:{vmid}/vm-{vmid}-disk-1.raw,size=2G"
    assert found["unused0"] == f"local:{vmid}/vm-{vmid}-disk-0.raw"
    found = change(pve, QEMU, vmid, delete="scsi0", force=1)
    assert ("scsi0" in found, found["boot"]) == (False, "order=net0")
    assert volumes(pve, vmid) == [f"local:{vmid}/vm-{vmid}-disk-0.raw"]


def test_cdrom_is_ide2(pve: Server) -> None:
    vmid = pve.machine(cdrom="none")
    assert config(pve, QEMU, vmid)["ide2"] == "none,media=cdrom"
    assert "ide2" not in change(pve, QEMU, vmid, delete="cdrom")


# --- options


def test_numbers_and_texts(pve: Server) -> None:
    """A3: QEMU's memory is a text, containers' are numbers; number options stay texts; shares end at 10000."""
    container = pve.container(
        cores=2, cpulimit="1.5", cpuunits=20000, onboot=1, startup="order=2", nameserver="1.1.1.1 9.9.9.9"
    )
    found = config(pve, LXC, container)
    assert (found["cores"], found["cpulimit"], found["cpuunits"], found["onboot"]) == (2, "1.5", 10000, 1)
    assert found["nameserver"] == "1.1.1.1 9.9.9.9"
    machine = pve.machine(cpuunits=20000, balloon=0, tablet=0, cores=2, sockets=2)
    found = config(pve, QEMU, machine)
    assert (found["cpuunits"], found["balloon"], found["tablet"]) == (10000, 0, 0)
    assert pve.get(f"{QEMU}/{machine}/status/current")["cpus"] == 4


def test_windows_keeps_its_machine_version(pve: Server) -> None:
    vmid = pve.machine(ostype="win11", machine="q35")
    assert re.fullmatch(r"pc-q35-\d+\.\d+\+pve\d+", config(pve, QEMU, vmid)["machine"])
    other = pve.machine(ostype="l26")
    assert change(pve, QEMU, other, ostype="win10")["machine"].startswith("pc-i440fx-")


def test_an_agent_that_is_off_is_not_shown(pve: Server) -> None:
    vmid = pve.machine(agent="0", vga="qxl")
    current = pve.get(f"{QEMU}/{vmid}/status/current")
    assert ("agent" in current, current["spice"], current["clipboard"]) == (False, 1, None)
    assert pve.call("POST", f"{QEMU}/{vmid}/agent/ping", {}).message == f"VM {vmid} is not running"


def test_a_task_shows_what_it_changes(pve: Server) -> None:
    vmid = pve.machine()
    lines = ran(pve, "POST", f"{QEMU}/{vmid}/config", cores=2, cipassword="secret")
    assert lines == [f"update VM {vmid}: -cipassword <hidden> -cores 2"]
    assert config(pve, QEMU, vmid)["cipassword"] == "*" * 10
    assert pve.call("POST", f"{QEMU}/{vmid}/config", {"cores": 3, "background_delay": 5}).data is None


# --- what runs


def test_hotplug_of_a_machine(pve: Server) -> None:
    """What can be plugged changes at once; memory, cores and IDE drives wait; reverting takes the change back."""
    vmid = pve.machine(memory=1024, balloon=512, ostype="l26", agent="1")
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/start", {})) == "OK"
    change(pve, QEMU, vmid, net1="virtio,bridge=vmbr0", scsi1="local:1", sata0="local:1", cores=2, tags="b;a",
           cpuunits=500, balloon=256, agent="1,fstrim_cloned_disks=1", onboot=1)  # fmt: skip
    items = {item["key"]: item for item in pve.get(f"{QEMU}/{vmid}/pending")}
    waiting = {key for key, item in items.items() if "pending" in item}
    assert waiting == {"cores", "sata0"}
    assert (items["tags"]["value"], items["cpuunits"]["value"], items["balloon"]["value"]) == ("a;b", 500, 256)
    change(pve, QEMU, vmid, revert="cores", delete="net1")
    items = {item["key"]: item for item in pve.get(f"{QEMU}/{vmid}/pending")}
    assert ("cores" in items, "net1" in items) == (False, False)
    change(pve, QEMU, vmid, delete="memory")
    items = {item["key"]: item for item in pve.get(f"{QEMU}/{vmid}/pending")}
    assert items["memory"] == {"key": "memory", "value": "1024", "delete": 1}
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/stop", {})) == "OK"
    found = config(pve, QEMU, vmid, current=1)
    assert ("memory" in found, found["sata0"]) == (False, f"local:{vmid}/vm-{vmid}-disk-1.raw,size=1G")


def test_hotplug_of_a_container(pve: Server) -> None:
    vmid = pve.container(net0="name=eth0,bridge=vmbr0")
    assert pve.done(pve.call("POST", f"{LXC}/{vmid}/status/start", {})) == "OK"
    change(pve, LXC, vmid, memory=600, cores=1, nameserver="1.1.1.1", mp0="local:1,mp=/data", delete="swap")
    items = {item["key"]: item for item in pve.get(f"{LXC}/{vmid}/pending")}
    assert {key for key, item in items.items() if "pending" in item or "delete" in item} == {"nameserver"}
    assert (items["memory"]["value"], "swap" in items) == (600, False)
    change(pve, LXC, vmid, delete="mp0")
    items = {item["key"]: item for item in pve.get(f"{LXC}/{vmid}/pending")}
    assert items["mp0"]["delete"] == 1
    refused = pve.call("PUT", f"{LXC}/{vmid}/config", {"net1": "name=eth1,bridge=nobr"})
    assert refused.errors == {"net1": "unable to hotplug net1: bridge 'nobr' does not exist\n"}


def test_what_a_running_machine_reports(pve: Server) -> None:
    vmid = pve.machine(memory=1024)
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/start", {})) == "OK"
    found = pve.get(f"{QEMU}/{vmid}/status/current")
    assert {"balloon", "ballooninfo", "blockstat", "nics", "pid", "proxmox-support", "running-machine",
            "running-qemu", "diskread", "diskwrite", "qmpstatus", "ha", "pressurecpusome"} <= found.keys()  # fmt: skip
    assert list(found["nics"]) == [f"tap{vmid}i0"]
    assert found["blockstat"]["scsi0"]["rd_bytes"] == 0
    stopped = pve.get(f"{QEMU}/{pve.machine()}/status/current")
    assert set(stopped) == {"cpu", "cpus", "disk", "ha", "maxdisk", "maxmem", "mem", "memhost", "name", "netin",
                            "netout", "qmpstatus", "status", "uptime", "vmid"}  # fmt: skip


def test_pause_and_hibernation(pve: Server) -> None:
    """suspend is qmpause, to disk it is qmsuspend; resume brings both back."""
    vmid = pve.machine(memory=1024)
    base = f"{QEMU}/{vmid}/status"
    assert pve.done(pve.call("POST", f"{base}/start", {})) == "OK"
    paused = pve.call("POST", f"{base}/suspend", {})
    assert (pve.done(paused), ":qmpause:" in paused.data) == ("OK", True)
    assert pve.get(f"{base}/current")["qmpstatus"] == "paused"
    assert pve.call("POST", f"{base}/shutdown", {}).message == "VM is paused - cannot shutdown"
    assert pve.call("POST", f"{base}/reboot", {}).message == "VM is paused - cannot shutdown"
    assert pve.done(pve.call("POST", f"{base}/resume", {})) == "OK"
    assert pve.get(f"{base}/current")["qmpstatus"] == "running"
    saved = pve.call("POST", f"{base}/suspend", {"todisk": 1})
    assert (pve.done(saved), ":qmsuspend:" in saved.data) == ("OK", True)
    found = config(pve, QEMU, vmid)
    assert found["lock"] == "suspended"
    assert re.fullmatch(rf"local:{vmid}/vm-{vmid}-state-suspend-\d{{4}}-\d\d-\d\d\.raw", found["vmstate"])
    assert pve.done(pve.call("POST", f"{base}/resume", {})) == "OK"
    assert {"lock", "vmstate", "runningmachine"} & config(pve, QEMU, vmid).keys() == set()
    assert volumes(pve, vmid) == [f"local:{vmid}/vm-{vmid}-disk-0.raw"]


# --- templates, clones, moves


def test_templates_and_linked_clones(pve: Server) -> None:
    """Disks of a template become base images; a linked clone names its base, which then cannot go."""
    vmid, newid = pve.machine(scsi0="local:1", ide2="local:cloudinit", name="gold"), next(pve.vmids)
    assert ran(pve, "POST", f"{QEMU}/{vmid}/template") == []
    found = config(pve, QEMU, vmid)
    base = f"local:{vmid}/base-{vmid}-disk-0.raw"
    assert (found["template"], found["scsi0"]) == (1, f"{base},size=1G")
    assert pve.call("POST", f"{QEMU}/{vmid}/template", {}).message == "you can't convert a template to a template"
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/start", {})) == "you can't start a vm if it's a template"
    lines = ran(pve, "POST", f"{QEMU}/{vmid}/clone", newid=newid, name="copy")
    assert f"create linked clone of drive scsi0 ({base})" in lines
    found = config(pve, QEMU, newid)
    assert found["scsi0"] == f"{base}/{newid}/vm-{newid}-disk-0.qcow2,size=1G"
    assert found["ide2"] == f"local:{newid}/vm-{newid}-cloudinit.qcow2,media=cdrom,size=4M"
    assert ("template" in found, found["name"]) == (False, "copy")
    assert pve.done(pve.call("DELETE", f"{QEMU}/{vmid}")) == f"base volume '{base}' is still in use by linked cloned"
    for one in (newid, vmid):
        assert pve.done(pve.call("DELETE", f"{QEMU}/{one}")) == "OK"
    assert (volumes(pve, vmid), volumes(pve, newid)) == ([], [])


def test_a_container_template_answers_null(pve: Server) -> None:
    """A4: the task of a container's template is hidden; linked clones of raw disks are refused."""
    vmid = pve.container()
    assert pve.call("POST", f"{LXC}/{vmid}/template", {}).data is None
    for _ in range(100):
        if config(pve, LXC, vmid).get("template"):
            break
    assert config(pve, LXC, vmid)["rootfs"] == f"local:{vmid}/base-{vmid}-disk-0.raw,size=1G"
    refused = pve.call("POST", f"{LXC}/{vmid}/clone", {"newid": 997})
    assert refused.message == f"Linked clone feature for 'local:{vmid}/base-{vmid}-disk-0.raw' is not available"
    assert pve.done(pve.call("POST", f"{LXC}/{vmid}/status/start", {})) == "you can't start a CT if it's a template"
    newid = next(pve.vmids)
    ran(pve, "POST", f"{LXC}/{vmid}/clone", newid=newid, full=1, hostname="copy")
    found = config(pve, LXC, newid)
    assert (found["hostname"], found["rootfs"]) == ("copy", f"local:{newid}/vm-{newid}-disk-0.raw,size=1G")
    assert {"template", "lock"} & found.keys() == set()


def test_full_clones_keep_or_change_the_format(pve: Server) -> None:
    vmid = pve.machine(scsi0="local:1,format=qcow2", onboot=1)
    plain, raw = next(pve.vmids), next(pve.vmids)
    lines = ran(pve, "POST", f"{QEMU}/{vmid}/clone", newid=plain)
    assert lines[1:3] == [
        f"create full clone of drive scsi0 (local:{vmid}/vm-{vmid}-disk-0.qcow2)",
        f"allocated target volume 'local:{plain}/vm-{plain}-disk-0.qcow2'",
    ]
    assert lines[-1] == "transferred 1.0 GiB of 1.0 GiB (100.00%)"
    ran(pve, "POST", f"{QEMU}/{vmid}/clone", newid=raw, format="raw")
    assert config(pve, QEMU, raw)["scsi0"] == f"local:{raw}/vm-{raw}-disk-0.raw,size=1G"
    assert config(pve, QEMU, plain)["onboot"] == 1


def test_disks_move_between_storages_and_formats(pve: Server) -> None:
    pve.call(
        "POST", "/storage", {"storage": "second", "type": "dir", "path": "/mnt/second", "content": "images,rootdir"}
    )
    vmid = pve.machine(scsi0="local:1,ssd=1")
    first = f"local:{vmid}/vm-{vmid}-disk-0.raw"
    task = pve.call("POST", f"{QEMU}/{vmid}/move_disk", {"disk": "scsi0", "storage": "second", "format": "qcow2"})
    assert (pve.done(task), f":qmmove:{vmid}:" in task.data) == ("OK", True)
    found = config(pve, QEMU, vmid)
    assert (found["scsi0"], found["unused0"]) == (f"second:{vmid}/vm-{vmid}-disk-0.qcow2,size=1G,ssd=1", first)
    lines = pve.log(task.data)
    assert lines[0] == f"copying volume '{first}' from current storage 'local' to target storage 'second'"
    assert lines[-2] == f"adding source volume '{first}' as 'unused0' to config"
    ran(pve, "POST", f"{QEMU}/{vmid}/move_disk", disk="scsi0", storage="local", delete=1)
    assert config(pve, QEMU, vmid)["scsi0"] == f"local:{vmid}/vm-{vmid}-disk-1.qcow2,size=1G,ssd=1"
    container = pve.container(mp0="local:1,mp=/data")
    task = pve.call("POST", f"{LXC}/{container}/move_volume", {"volume": "mp0", "storage": "second", "delete": 1})
    assert (pve.done(task), f":move_volume:{container}:" in task.data) == ("OK", True)
    found = config(pve, LXC, container)
    assert (found["mp0"], "lock" in found) == (f"second:{container}/vm-{container}-disk-0.raw,mp=/data,size=1G", False)


# --- snapshots


def test_snapshots_of_qcow2_disks(pve: Server) -> None:
    vmid = pve.machine(scsi0="local:1,format=qcow2", memory=1024)
    base = f"{QEMU}/{vmid}/snapshot"
    lines = ran(pve, "POST", base, snapname="one", description="first")
    assert lines == [f"snapshotting 'drive-scsi0' (local:{vmid}/vm-{vmid}-disk-0.qcow2)"]
    ran(pve, "POST", base, snapname="two")
    *listed, current = pve.get(base)
    one, two = sorted(listed, key=lambda snapshot: snapshot["name"])
    assert (one["name"], one["description"], one["vmstate"], "parent" in one) == ("one", "first", 0, False)
    assert (two["parent"], two["description"]) == ("one", "")
    assert current | {"digest": ""} == {
        "name": "current", "digest": "", "running": 0, "description": "You are here!", "parent": "two",
    }  # fmt: skip
    kept = pve.get(f"{base}/two/config")
    assert (kept["memory"], kept["parent"], isinstance(kept["snaptime"], int)) == ("1024", "one", True)
    refused = pve.done(pve.call("POST", base, {"snapname": "one"}))
    assert refused == "snapshot name 'one' already used"
    assert pve.call("PUT", f"{base}/one/config", {}).data is None
    assert pve.call("PUT", f"{base}/one/config", {"description": "changed"}).data is None
    change(pve, QEMU, vmid, delete="scsi0")
    volid = config(pve, QEMU, vmid)["unused0"]
    used = pve.call("PUT", f"{QEMU}/{vmid}/config", {"delete": "unused0"})
    assert used.message == f"unable to delete '{volid}' - volume is still in use (snapshot?)"
    old = config(pve, QEMU, vmid)["vmgenid"]
    ran(pve, "POST", f"{base}/one/rollback")
    found = config(pve, QEMU, vmid)
    assert (found["parent"], found["scsi0"], "unused0" in found) == ("one", f"{volid},size=1G", False)
    assert found["vmgenid"] != old
    ran(pve, "DELETE", f"{base}/one")
    assert "parent" not in pve.get(f"{base}/two/config")
    assert pve.get(f"{QEMU}/{vmid}/feature", feature="snapshot") == {"hasFeature": 1, "nodes": ["pve"]}
    assert pve.get(f"{QEMU}/{vmid}/feature", feature="clone") == {"hasFeature": 0, "nodes": ["pve"]}


def test_features_of_a_container_on_raw_disks(pve: Server) -> None:
    vmid = pve.container()
    found = {f: pve.get(f"{LXC}/{vmid}/feature", feature=f) for f in ("snapshot", "clone", "copy")}
    assert found == {"snapshot": {"hasFeature": 0}, "clone": {"hasFeature": 0}, "copy": {"hasFeature": 1}}


# --- the rest


def test_volumes_that_no_option_names_stay(pve: Server) -> None:
    """DELETE removes what the configuration names; the rest goes only when asked for."""
    for asked, left in (({}, 1), ({"destroy-unreferenced-disks": 1}, 0)):
        vmid = pve.machine()
        extra = {"vmid": vmid, "filename": f"vm-{vmid}-extra.raw", "size": "1G"}
        assert pve.call("POST", "/nodes/pve/storage/local/content", extra).status == 200
        assert pve.done(pve.call("DELETE", f"{QEMU}/{vmid}", asked)) == "OK"
        assert len(volumes(pve, vmid)) == left


def test_a_template_says_what_system_it_is(pve: Server) -> None:
    """The system is what etc/os-release in the archive says, whatever the archive is called."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in (("./etc/os-release", b'NAME="Alpine Linux"\nID=alpine\n'), ("./bin/sh", b"#!\n")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    file = pve.state / "storage/local/template/cache/own.tar.gz"
    file.write_bytes(data.getvalue())
    vmid = next(pve.vmids)
    lines = ran(pve, "POST", LXC, vmid=vmid, ostemplate="local:vztmpl/own.tar.gz", rootfs="local:1")
    assert lines[-1] == "Detected container architecture: amd64"
    assert "extracting archive '/var/lib/vz/template/cache/own.tar.gz'" in lines
    assert config(pve, LXC, vmid)["ostype"] == "alpine"


def test_what_keeps_a_guest_from_starting(pve: Server) -> None:
    """A bridge or a mapping that is missing is found at the start, a quota in an unprivileged container too."""
    machine = pve.machine(net0="virtio,bridge=nobr")
    assert pve.done(pve.call("POST", f"{QEMU}/{machine}/status/start", {})) == "bridge 'nobr' does not exist"
    card = pve.machine(hostpci0="mapping=nocard")
    task = pve.call("POST", f"{QEMU}/{card}/status/start", {})
    assert pve.done(task) == "PCI device mapping not found for 'nocard'"
    container = pve.container(mp0="local:1,mp=/data,quota=1")
    task = pve.call("POST", f"{LXC}/{container}/status/start", {})
    assert pve.done(task) == "Quotas are not supported by unprivileged containers."


def test_interfaces_of_a_container(pve: Server) -> None:
    vmid = pve.container(net0="name=eth0,bridge=vmbr0,ip=10.0.0.9/24,gw=10.0.0.1")
    assert pve.call("GET", f"{LXC}/{vmid}/interfaces").json == {"data": None}
    assert pve.done(pve.call("POST", f"{LXC}/{vmid}/status/start", {})) == "OK"
    lo, eth0 = pve.get(f"{LXC}/{vmid}/interfaces")
    assert (lo["name"], lo["inet"], lo["inet6"]) == ("lo", "127.0.0.1/8", "::1/128")
    assert set(eth0) == {"name", "hwaddr", "hardware-address", "ip-addresses", "inet"}
    assert eth0["ip-addresses"] == [{"ip-address": "10.0.0.9", "ip-address-type": "inet", "prefix": 24}]


def test_a_locked_guest_is_not_restored_over(pve: Server) -> None:
    vmid = pve.container()
    assert pve.done(pve.call("POST", "/nodes/pve/vzdump", {"vmid": vmid, "storage": "local"})) == "OK"
    archive = next(v["volid"] for v in pve.get("/nodes/pve/storage/local/content", content="backup", vmid=vmid))
    change(pve, LXC, vmid, lock="backup")
    wanted = {"vmid": vmid, "ostemplate": archive, "restore": 1, "force": 1}
    assert pve.call("POST", LXC, wanted).message == f"unable to restore CT {vmid} - CT is locked (backup)"
