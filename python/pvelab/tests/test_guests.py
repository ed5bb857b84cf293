"""Containers and machines: what PVE rewrites, and where the two kinds differ."""

from __future__ import annotations

import re

from pve_server import IMAGE, TEMPLATE, Server

LXC, QEMU = "/nodes/pve/lxc", "/nodes/pve/qemu"


def test_a_container_gets_pves_defaults(pve: Server) -> None:
    vmid = pve.container(hostname="web", net0="name=eth0,bridge=vmbr0,ip=dhcp", tags="B;a", description="one")
    config = pve.get(f"{LXC}/{vmid}/config")
    assert (config["arch"], config["ostype"], config["memory"], config["swap"]) == ("amd64", "debian", 512, 512)
    assert (config["unprivileged"], config["tags"], config["description"]) == (1, "a;b", "one\n")
    assert re.fullmatch(r"name=eth0,bridge=vmbr0,hwaddr=BC:24:11(:[0-9A-F]{2}){3},ip=dhcp,type=veth", config["net0"])
    assert config["rootfs"] == f"local:{vmid}/vm-{vmid}-disk-0.raw,size=1G"
    pending = {item["key"]: item for item in pve.get(f"{LXC}/{vmid}/pending")}
    assert pending["digest"]["value"] == config["digest"]


def test_a_machine_gets_pves_defaults(pve: Server) -> None:
    vmid = pve.machine(memory=2048, scsi0=f"local:0,import-from={IMAGE},ssd=1,discard=on", ide2="local:cloudinit")
    config = pve.get(f"{QEMU}/{vmid}/config")
    assert config["memory"] == "2048"
    assert config["scsi0"] == f"local:{vmid}/vm-{vmid}-disk-0.qcow2,discard=on,size=3G,ssd=1"
    assert config["ide2"] == f"local:{vmid}/vm-{vmid}-cloudinit.qcow2,media=cdrom"
    assert config["boot"] == "order=scsi0;ide2;net0"
    assert {"meta", "smbios1", "vmgenid"} <= config.keys()
    assert re.fullmatch(r"virtio=BC:24:11(:[0-9A-F]{2}){3},bridge=vmbr0", config["net0"])


def test_missing_guests_are_named_by_their_file(pve: Server) -> None:
    assert pve.call("GET", f"{QEMU}/999/config").message.endswith("'nodes/pve/qemu-server/999.conf' does not exist")
    started = pve.done(pve.call("POST", f"{QEMU}/999/status/start", {}))
    assert started == "Configuration file 'nodes/pve/qemu-server/999.conf' does not exist"


def test_a_taken_vmid_is_refused(pve: Server) -> None:
    vmid = pve.container()
    again = pve.call("POST", LXC, {"vmid": vmid, "ostemplate": TEMPLATE})
    assert (again.status, again.message) == (500, f"CT {vmid} already exists on node 'pve'")
    machine = pve.call("POST", QEMU, {"vmid": vmid})
    assert machine.message == f"unable to create VM {vmid} - CT {vmid} already exists on node 'pve'"
    assert pve.call("GET", "/cluster/nextid", {"vmid": vmid}).errors == {"vmid": f"VM {vmid} already exists"}


def test_a_stale_digest_is_refused(pve: Server) -> None:
    container, machine = pve.container(), pve.machine()
    lxc = pve.call("PUT", f"{LXC}/{container}/config", {"cores": 1, "digest": "x"})
    assert lxc.message == "detected modified configuration - file changed by other user? Try again."
    qemu = pve.call("PUT", f"{QEMU}/{machine}/config", {"cores": 1, "digest": "x"})
    assert qemu.message == "checksum mismatch (file change by other user?)"


def test_locks(pve: Server) -> None:
    container, machine = pve.container(), pve.machine()
    assert pve.call("PUT", f"{LXC}/{container}/config", {"lock": "backup"}).status == 200
    assert pve.call("PUT", f"{QEMU}/{machine}/config", {"lock": "backup"}).status == 200
    assert pve.call("PUT", f"{LXC}/{container}/config", {"cores": 1}).message == "CT is locked (backup)"
    assert pve.call("PUT", f"{QEMU}/{machine}/config", {"cores": 1}).message == "VM is locked (backup)"
    assert pve.call("DELETE", f"{LXC}/{container}").message == "CT is locked (backup)"
    assert pve.done(pve.call("DELETE", f"{QEMU}/{machine}")) == "VM is locked (backup)"


def test_protection(pve: Server) -> None:
    container, machine = pve.container(protection=1), pve.machine(protection=1)
    text = "can't remove {} {} - protection mode enabled"
    assert pve.call("DELETE", f"{LXC}/{container}").message == text.format("CT", container)
    assert pve.call("DELETE", f"{QEMU}/{machine}").message == text.format("VM", machine)


def test_stopped_guests(pve: Server) -> None:
    container, machine = pve.container(), pve.machine()
    assert pve.call("POST", f"{LXC}/{container}/status/stop", {}).message == f"CT {container} not running"
    assert pve.call("POST", f"{LXC}/{container}/status/reboot", {}).message == f"VM {container} not running"
    assert pve.done(pve.call("POST", f"{QEMU}/{machine}/status/stop", {})) == "OK"
    assert pve.call("POST", f"{QEMU}/{machine}/status/reboot", {}).message == f"VM {machine} not running"


def test_running_guests(pve: Server) -> None:
    container, machine = pve.container(), pve.machine()
    for base, vmid in ((LXC, container), (QEMU, machine)):
        assert pve.done(pve.call("POST", f"{base}/{vmid}/status/start", {})) == "OK"
        assert pve.get(f"{base}/{vmid}/status/current")["status"] == "running"
    assert pve.call("POST", f"{LXC}/{container}/status/start", {}).message == f"CT {container} already running"
    assert pve.done(pve.call("POST", f"{QEMU}/{machine}/status/start", {})) == f"VM {machine} already running"
    refused = pve.call("DELETE", f"{LXC}/{container}")
    assert refused.message == f"unable to destroy CT {container} - container is running"
    assert pve.call("DELETE", f"{QEMU}/{machine}").message == f"VM {machine} is running - destroy failed"
    assert pve.done(pve.call("DELETE", f"{LXC}/{container}", {"force": 1})) == "OK"


def test_a_change_that_needs_a_restart_waits(pve: Server) -> None:
    vmid = pve.machine(memory=1024)
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/start", {})) == "OK"
    assert pve.call("PUT", f"{QEMU}/{vmid}/config", {"memory": 2048, "name": "new"}).data is None
    items = {item["key"]: item for item in pve.get(f"{QEMU}/{vmid}/pending")}
    assert items["memory"] == {"key": "memory", "value": "1024", "pending": "2048"}
    assert items["name"] == {"key": "name", "value": "new"}
    assert pve.get(f"{QEMU}/{vmid}/config")["memory"] == "2048"
    assert pve.get(f"{QEMU}/{vmid}/config", current=1)["memory"] == "1024"
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/reboot", {})) == "OK"
    assert pve.get(f"{QEMU}/{vmid}/config", current=1)["memory"] == "2048"


def test_options_that_do_not_exist_or_cannot_change(pve: Server) -> None:
    vmid = pve.container()
    assert pve.call("PUT", f"{LXC}/{vmid}/config", {}).message == "no options specified"
    assert pve.call("PUT", f"{LXC}/{vmid}/config", {"delete": "nosuch"}).errors == {"delete": "unknown option 'nosuch'"}
    changed = pve.call("PUT", f"{LXC}/{vmid}/config", {"unprivileged": 0})
    assert changed.message == "unable to modify read-only option: 'unprivileged'"


def test_a_failed_creation_leaves_nothing(pve: Server) -> None:
    vmid = next(pve.vmids)
    missing = TEMPLATE.replace("13.1", "99.9")
    ended = pve.done(pve.call("POST", LXC, {"vmid": vmid, "ostemplate": missing, "rootfs": "local:1"}))
    assert ended == f"unable to create CT {vmid} - volume '{missing}' does not exist"
    assert pve.call("GET", f"{LXC}/{vmid}/config").status == 500
    assert not pve.get("/nodes/pve/storage/local/content", vmid=vmid, content="rootdir")


def test_a_missing_bridge_is_found_at_the_start(pve: Server) -> None:
    vmid = pve.container(net0="name=eth0,bridge=nobr")
    assert pve.done(pve.call("POST", f"{LXC}/{vmid}/status/start", {})) == "bridge 'nobr' does not exist"


def test_storages_and_pools_that_do_not_exist(pve: Server) -> None:
    wanted = {"vmid": next(pve.vmids), "ostemplate": TEMPLATE, "rootfs": "nostore:1"}
    assert pve.call("POST", LXC, wanted).message == "storage 'nostore' does not exist"
    pool = pve.call("POST", LXC, {**wanted, "rootfs": "local:1", "pool": "nopool"})
    assert (pool.status, pool.message) == (403, "Permission check failed (pool 'nopool' does not exist)")


def test_resize_and_shrink(pve: Server) -> None:
    container, machine = pve.container(), pve.machine()
    assert pve.done(pve.call("PUT", f"{LXC}/{container}/resize", {"disk": "rootfs", "size": "+1G"})) == "OK"
    assert pve.get(f"{LXC}/{container}/config")["rootfs"].endswith("size=2G")
    shrink = pve.call("PUT", f"{LXC}/{container}/resize", {"disk": "rootfs", "size": "1G"})
    assert shrink.message == "unable to shrink disk size"
    assert pve.done(pve.call("PUT", f"{QEMU}/{machine}/resize", {"disk": "scsi0", "size": "512M"})) != "OK"


def test_snapshots_need_storage_that_can(pve: Server) -> None:
    vmid = pve.container()
    ended = pve.done(pve.call("POST", f"{LXC}/{vmid}/snapshot", {"snapname": "one"}))
    assert ended == "snapshot feature is not available"


def test_snapshot_rollback_and_delete(pve: Server) -> None:
    pve.call("POST", "/storage", {"storage": "fast", "type": "zfspool", "pool": "rpool/data"})
    vmid = pve.container(rootfs="fast:1", memory=256)
    base = f"{LXC}/{vmid}/snapshot"
    assert pve.done(pve.call("POST", base, {"snapname": "one", "description": "first"})) == "OK"
    assert [item["name"] for item in pve.get(base)] == ["one", "current"]
    assert pve.call("PUT", f"{LXC}/{vmid}/config", {"memory": 512}).status == 200
    assert pve.done(pve.call("POST", f"{base}/one/rollback", {})) == "OK"
    assert pve.get(f"{LXC}/{vmid}/config")["memory"] == 256
    assert pve.done(pve.call("DELETE", f"{base}/one")) == "OK"
    assert pve.done(pve.call("DELETE", f"{base}/one")) == "snapshot 'one' does not exist"


def test_clones(pve: Server) -> None:
    container, machine = pve.container(), pve.machine(name="gold")
    taken = pve.call("POST", f"{LXC}/{container}/clone", {"newid": machine})
    assert taken.message == f"VM {machine} already exists on node 'pve'"
    taken = pve.call("POST", f"{QEMU}/{machine}/clone", {"newid": container})
    assert taken.message == f"unable to create VM {container}: config file already exists"
    newid = next(pve.vmids)
    assert pve.done(pve.call("POST", f"{QEMU}/{machine}/clone", {"newid": newid})) == "OK"
    old, new = pve.get(f"{QEMU}/{machine}/config"), pve.get(f"{QEMU}/{newid}/config")
    assert new["name"] == "Copy-of-VM-gold"
    assert new["net0"] != old["net0"]
    assert new["scsi0"] == f"local:{newid}/vm-{newid}-disk-0.raw,size=1G"


def test_a_disk_that_is_taken_away_becomes_unused(pve: Server) -> None:
    vmid = pve.machine(scsi1="local:2")
    volume = f"local:{vmid}/vm-{vmid}-disk-1.raw"
    assert pve.call("PUT", f"{QEMU}/{vmid}/config", {"delete": "scsi1"}).status == 200
    assert pve.get(f"{QEMU}/{vmid}/config")["unused0"] == volume
    assert pve.call("PUT", f"{QEMU}/{vmid}/config", {"delete": "unused0"}).status == 200
    assert volume not in [v["volid"] for v in pve.get("/nodes/pve/storage/local/content", vmid=vmid)]


def test_a_container_is_backed_up_and_restored(pve: Server) -> None:
    vmid, newid = pve.container(memory=300), next(pve.vmids)
    assert pve.done(pve.call("POST", "/nodes/pve/vzdump", {"vmid": vmid, "storage": "local"})) == "OK"
    found = [v for v in pve.get("/nodes/pve/storage/local/content", content="backup") if v["vmid"] == vmid]
    restore = {"vmid": newid, "ostemplate": found[0]["volid"], "restore": 1, "storage": "local"}
    assert pve.done(pve.call("POST", LXC, restore)) == "OK"
    assert pve.get(f"{LXC}/{newid}/config")["memory"] == 300


def test_the_guest_agent_says_why_it_does_not_answer(pve: Server) -> None:
    vmid = pve.machine()
    assert pve.call("POST", f"{QEMU}/{vmid}/agent/ping", {}).message == "No QEMU guest agent configured"
    pve.call("PUT", f"{QEMU}/{vmid}/config", {"agent": "enabled=1"})
    assert pve.call("POST", f"{QEMU}/{vmid}/agent/ping", {}).message == f"VM {vmid} is not running"


def test_a_restore_may_replace_its_own_guest(pve: Server) -> None:
    vmid = pve.container(memory=300)
    assert pve.done(pve.call("POST", "/nodes/pve/vzdump", {"vmid": vmid, "storage": "local"})) == "OK"
    archive = next(v["volid"] for v in pve.get("/nodes/pve/storage/local/content", content="backup", vmid=vmid))
    assert pve.call("PUT", f"{LXC}/{vmid}/config", {"memory": 600}).status == 200
    restore = {"vmid": vmid, "ostemplate": archive, "restore": 1, "storage": "local"}
    assert pve.call("POST", LXC, restore).message == f"CT {vmid} already exists on node 'pve'"
    assert pve.done(pve.call("POST", LXC, {**restore, "force": 1})) == "OK"
    assert pve.get(f"{LXC}/{vmid}/config")["memory"] == 300
    disks = [v for v in pve.get("/nodes/pve/storage/local/content", vmid=vmid) if v["content"] == "rootdir"]
    assert [v["volid"] for v in disks] == [f"local:{vmid}/vm-{vmid}-disk-1.raw"]  # made before the old one goes


def test_a_parameter_without_a_value_is_not_an_absent_one(pve: Server) -> None:
    container, machine = pve.container(description="one"), pve.machine(description="one")
    lxc, qemu = f"{LXC}/{container}/config", f"{QEMU}/{machine}/config"
    assert pve.call("PUT", lxc, {"description": ""}).status == 200
    assert "description" not in pve.get(lxc)
    assert pve.call("PUT", lxc, {"delete": ""}).status == 200
    assert pve.call("PUT", lxc, {"net0": ""}).message == "format error"
    assert pve.call("PUT", qemu, {"description": ""}).status == 200
    assert pve.get(qemu)["description"] == "one"
    assert pve.call("PUT", qemu, {"delete": ""}).message == "no options specified"
    assert pve.call("PUT", qemu, {"cores": ""}).message == "unable to parse value of 'cores' - got undefined value"
    assert pve.call("PUT", qemu, {"scsi5": ""}).errors == {"scsi5": "unable to parse drive options"}
    for path in (lxc, qemu):
        assert pve.call("PUT", path, {"tags": "a"}).status == 200
        assert pve.call("PUT", path, {"tags": ""}).status == 200
        assert pve.get(path)["tags"] == " "
    made = pve.done(pve.call("POST", QEMU, {"vmid": 777, "name": ""}))
    assert made == "unable to create VM 777 - unable to parse value of 'name' - got undefined value"


def test_no_value_becomes_two_lines_of_a_file(pve: Server) -> None:
    container, machine = pve.container(), pve.machine()
    two = "a\nmemory: 99999"
    refused = pve.call("PUT", f"{QEMU}/{machine}/config", {"searchdomain": two})
    assert refused.message == "unable to parse value of 'searchdomain' - property contains a line feed"
    assert pve.get(f"{QEMU}/{machine}/config").get("memory") != "99999"
    refused = pve.call("PUT", f"{LXC}/{container}/config", {"hookscript": two})
    assert refused.status in (400, 500)
    assert pve.get(f"{LXC}/{container}/config")["memory"] != 99999
