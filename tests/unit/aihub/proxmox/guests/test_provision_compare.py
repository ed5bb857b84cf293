"""What Proxmox rewrites compares equal; what a person changed is seen, field by field."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aihub.plan import Difference
from aihub.proxmox.guests.compare import deviation, merged, waits_for_restart
from aihub.proxmox.guests.desired import wanted
from aihub.proxmox.guests.normal import parse_disk_size

KEYS = ["ssh-ed25519 AAAA me"]


def look(hub, found, **more):
    return deviation(wanted(hub, hub.guests[found.name], KEYS), found, **more)


def put(found):
    return found.edits["token"].put


@pytest.mark.parametrize("name", ["db", "cache", "ai"])
def test_a_guest_as_proxmox_keeps_it_does_not_deviate(hub, have, name):
    assert not look(hub, have(name))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("db", "net0", "type=veth,ip=10.10.10.11/24,hwaddr=bc:24:11:00:00:6e,name=eth0,bridge=hubinfra,gw=10.10.10.1"),
        (
            "db",
            "net0",
            "name=eth0,bridge=hubinfra,gw=10.10.10.1,hwaddr=BC:24:11:00:00:6E,ip=10.10.10.11/24,type=veth,firewall=1",
        ),
        ("db", "nameserver", " 10.10.10.1 "),
        ("db", "tags", "INFRA, aihub"),
        ("db", "features", "nesting=1,keyctl=1"),
        ("ai", "memory", "current=16384"),
        ("ai", "agent", "1"),
        ("ai", "agent", "enabled=1,fstrim_cloned_disks=1"),
        ("ai", "cpu", "cputype=host"),
        ("ai", "hostpci0", "pcie=1,mapping=card,rombar=0"),
        ("ai", "machine", "pc-q35-9.2+pve1"),
        ("ai", "vga", "type=serial0,memory=16"),
        ("ai", "net0", "bridge=hubprivate,virtio=bc:24:11:00:00:c9"),
        ("ai", "ipconfig0", "gw=10.10.20.1,ip=10.10.20.11/24"),
        ("ai", "ipconfig0", "ip=10.10.20.11/24,gw=10.10.20.1,ip6=manual"),
    ],
)
def test_other_spellings_of_the_same_are_equal(hub, have, name, key, value):
    assert not look(hub, have(name, {key: value}))


@pytest.mark.parametrize(
    ("name", "key", "value", "field", "actual"),
    [
        ("db", "memory", "1024", "memory", "1GiB"),
        ("db", "memory", None, "memory", "512MiB"),
        ("db", "swap", None, "swap", "512MiB"),
        ("db", "cores", None, "cores", None),
        ("db", "cores", "2", "cores", "2"),
        ("db", "onboot", None, "onboot", "0"),
        ("db", "tags", "infra", "tags", "infra"),
        ("db", "tags", "aihub;infra;mine", "tags", "aihub;infra;mine"),
        ("db", "hostname", "other", "hostname", "other"),
        ("db", "features", None, "features.nesting", None),
        ("ai", "name", "other", "name", "other"),
        ("ai", "agent", None, "agent.enabled", None),
        ("ai", "hostpci0", None, "hostpci0.mapping", None),
        ("ai", "hostpci0", "mapping=card", "hostpci0.pcie", None),
        ("ai", "bios", None, "bios", "seabios"),
        ("ai", "machine", None, "machine", None),
        ("ai", "balloon", "1024", "balloon", "1024"),
        ("ai", "vga", "std", "vga", "std"),
        ("ai", "ipconfig0", "ip=dhcp", "ipconfig0.gw", None),
    ],
)
def test_a_changed_value_is_one_difference_and_is_written(hub, have, name, key, value, field, actual):
    found = look(hub, have(name, {key: value}))
    assert [d.actual for d in found.differences if d.field == field] == [actual]
    assert set(put(found)) == {key}


def test_a_vlan_tag_that_nobody_wants_is_a_difference_and_goes(hub, have):
    net = have("db").config["net0"] + ",tag=7,rate=10"
    found = look(hub, have("db", {"net0": net}))
    assert found.differences == (Difference("net0.tag", "7", None),)
    assert "tag=" not in found.edits["root@node"].put["net0"]
    assert found.edits["root@node"].put["net0"].endswith(",rate=10")


def test_parts_that_are_not_ours_are_kept(hub):
    assert merged("features", "keyctl=1,nesting=0", "nesting=1") == "nesting=1,keyctl=1"
    assert merged("net0", "virtio=AA:BB,bridge=x,firewall=1,queues=4", "virtio=CC:DD,bridge=y") == (
        "virtio=CC:DD,bridge=y,firewall=1,queues=4"
    )
    assert merged("memory", "1", "2") == "2"


def test_memory_of_a_running_container_changes_live_and_of_a_vm_with_a_restart(hub, have):
    assert not look(hub, have("db", {"memory": "1024"})).restart
    assert look(hub, have("ai", {"memory": "1024"})).restart
    assert not look(hub, have("ai", {"memory": "1024"}, status="stopped")).restart


def test_a_value_that_waits_for_a_restart_is_a_difference_without_a_write(hub, have):
    found = have("ai", current={"memory": "2048", "tablet": "0"})
    seen = look(hub, found)
    assert seen.differences == (Difference("memory", "2GiB", "16GiB"),)
    assert not put(seen)
    assert seen.restart
    assert waits_for_restart(wanted(hub, hub.guests["ai"], KEYS), found)
    assert not look(hub, have("ai", current={"memory": "2048"}, status="stopped"))


def test_what_waits_without_being_ours_is_left_alone(hub, have):
    assert not look(hub, have("ai", current={"tablet": None}))


def test_a_disk_grows(hub, have):
    found = look(hub, have("db", {"rootfs": "local-zfs:subvol-110-disk-0,size=32G"}))
    assert found.grow == 64 << 30
    assert found.differences == (Difference("disk", "32GiB", "64GiB"),)
    assert not put(found)


def test_a_disk_does_not_shrink(hub, have):
    found = look(hub, have("ai", {"scsi0": "local-zfs:vm-201-disk-0,size=1T"}))
    assert found.refused == ("its disk has 1TiB, hub.yml says 100GiB: disks only grow",)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rootfs": "tank:subvol-110-disk-0,size=64G"}, "its disk is on tank, hub.yml says local-zfs"),
        ({"unprivileged": None}, "it is a privileged container, hubs have unprivileged ones"),
    ],
)
def test_what_only_a_new_guest_can_be(hub, have, changes, why):
    assert look(hub, have("db", changes)).rebuild == (why,)


def test_a_bridge_changed_by_hand_is_repaired_in_place(hub, have):
    net = have("db").config["net0"].replace("hubinfra", "hubprivate")
    found = look(hub, have("db", {"net0": net}))
    assert not found.rebuild
    assert found.differences == (Difference("net0.bridge", "hubprivate", "hubinfra"),)


@pytest.mark.parametrize(("name", "address"), [("db", "net0.ip"), ("ai", "ipconfig0.ip")])
def test_another_zone_is_a_change_in_place_by_the_token(make_hub, have, name, address):
    """Both bridges are the hub's own. The guest keeps its disk."""
    zones = {"zone: infra, address: 10.10.10.11": "zone: private, address: 10.10.20.31"}
    zones |= {"zone: private, address: 10.10.20.11": "zone: infra, address: 10.10.10.31"}
    hub = make_hub(zones)
    found = deviation(wanted(hub, hub.guests[name], KEYS), have(name))
    assert not found.rebuild
    assert not found.edits["root@node"]
    assert {"net0.bridge", address, "nameserver", "tags"} <= {d.field for d in found.differences}
    assert found.restart


def test_another_kind_needs_a_new_guest(make_hub, have):
    hub = make_hub({"db: {vmid: 110, kind: lxc": "db: {vmid: 110, kind: vm"})
    assert deviation(wanted(hub, hub.guests["db"], KEYS), have("db")).rebuild == ("it is a lxc, hub.yml says vm",)


def test_a_vm_with_a_new_address_takes_new_host_keys(hub, have):
    assert look(hub, have("ai", {"ipconfig0": "ip=10.10.20.9/24,gw=10.10.20.1"})).new_host_keys
    assert not look(hub, have("ai", {"memory": "1024"})).new_host_keys


@pytest.mark.parametrize(
    ("text", "size"),
    [("64G", 64 << 30), ("528K", 528 << 10), ("1.5T", 3 << 39), ("8192", 8192), ("", None), ("a", None)],
)
def test_disk_sizes_are_read_as_proxmox_writes_them(text, size):
    assert parse_disk_size(text) == size


def test_the_create_call_holds_everything_but_tags(hub):
    want = wanted(hub, hub.guests["db"], KEYS)
    without = want.create()
    assert "tags" not in without
    assert want.config["tags"] == "aihub;infra"
    assert without["pool"] == "hub-small"
    assert without["rootfs"] == "local-zfs:64"
    assert without["ssh-public-keys"] == "ssh-ed25519 AAAA me\n"
    assert without["description"] == "aihub:v1 hub=00112233445566ff vmid=110 guest=db\naihub:image debian-13"


def test_keys_of_a_vm_are_url_encoded_once_more(hub):
    assert wanted(hub, hub.guests["ai"], KEYS).create()["sshkeys"] == "ssh-ed25519%20AAAA%20me%0A"


NET1 = "name=eth1,bridge=vmbr0,ip=dhcp"


@pytest.mark.parametrize(
    ("name", "key", "value", "writer"),
    [
        ("db", "net1", NET1, "root@node"),
        ("db", "net1", NET1.replace("vmbr0", "hubprivate"), "token"),
        ("db", "net1", NET1.replace("vmbr0", "hubprivate,tag=9"), "root@node"),
        ("db", "net1", NET1.replace("vmbr0", "hubprivate,trunks=2;3"), "root@node"),
        ("db", "dev0", "/dev/dri/renderD128", "root@node"),
        ("db", "mp0", "/srv/data,mp=/data", "token"),
        ("db", "mp3", "tank:subvol-110-disk-1,mp=/data,size=8G", "token"),
        ("ai", "net1", "virtio=BC:24:11:00:00:01,bridge=vmbr0", "root@node"),
        ("ai", "ipconfig1", "ip=dhcp", "token"),
        ("ai", "scsi1", "tank:vm-201-disk-1,size=8G", "token"),
        ("ai", "ide3", "local:iso/x.iso,media=cdrom", "token"),
        ("ai", "usb0", "host=1234:5678", "root@node"),
        ("ai", "serial1", "/dev/ttyS0", "root@node"),
        ("ai", "serial1", "socket", "token"),
        ("ai", "virtiofs0", "dirid=share", "root@node"),
        ("ai", "args", "-device x", "root@node"),
        ("ai", "vcpus", "1", "token"),
    ],
)
def test_hardware_and_reach_that_nobody_declared_goes(hub, have, name, key, value, writer):
    found = look(hub, have(name, {key: value}))
    assert found.differences == (Difference(key, value, None),)
    assert [(who, edit.delete) for who, edit in found.edits.items() if edit] == [(writer, [key])]
    assert not any(edit.put for edit in found.edits.values())


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("db", "startup", "order=1"),
        ("db", "cpulimit", "2"),
        ("db", "protection", "1"),
        ("db", "startup", "order=2"),
        ("ai", "efidisk0", "tank:vm-201-disk-2,size=4M"),
        ("ai", "rng0", "source=/dev/urandom"),
        ("ai", "tablet", "0"),
        ("db", "unused0", "tank:subvol-110-disk-1"),
    ],
)
def test_what_gives_neither_stays(hub, have, name, key, value):
    assert not look(hub, have(name, {key: value}))


def test_a_card_that_is_taken_out_leaves_its_vm_and_the_firmware_stays(hub, make_hub, have):
    found = look(make_hub({", gpu: card": ""}), have("ai"))
    assert found.edits["token"].delete == ["hostpci0"]
    assert found.edits["root@node"].delete == ["hookscript"], "the script that guarded it goes with it"
    assert [d.field for d in found.differences] == ["hookscript", "hostpci0"]
    assert found.restart


def test_a_hook_script_of_somebody_else_stays_where_there_is_no_card(make_hub, have):
    theirs = {"hostpci0": None, "hookscript": "local:snippets/theirs"}
    assert not look(make_hub({", gpu: card": ""}), have("ai", theirs)).differences


def test_a_guest_with_a_card_gets_its_guard_without_a_restart(hub, have):
    found = look(hub, have("ai", {"hookscript": None}))
    assert found.edits["root@node"].put == {"hookscript": "local:snippets/hub-small-gpu-guard"}
    assert not found.restart


@pytest.mark.parametrize("present", ["mapping=theirs,pcie=1", "0000:01:00,pcie=1", "host=01:00"])
def test_a_device_that_is_not_the_hubs_own_is_roots_to_take(make_hub, have, present):
    found = look(make_hub({", gpu: card": ""}), have("ai", {"hostpci0": present}))
    assert set(found.edits["root@node"].delete) == {"hostpci0", "hookscript"}
    assert not found.edits["token"]


def test_a_card_of_somebody_else_is_roots_to_replace(hub, have):
    found = look(hub, have("ai", {"hostpci0": "mapping=theirs,pcie=1,rombar=0"}))
    assert found.edits["root@node"].put == {"hostpci0": "mapping=card,pcie=1,rombar=0"}


def test_a_vm_that_gets_a_card_gets_what_the_card_needs(hub, have):
    """As it was before: Proxmox's own firmware, and no disk for another."""
    bare = dict.fromkeys(("bios", "machine", "balloon", "vga", "hostpci0", "efidisk0"))
    found = look(hub, have("ai", bare))
    put = found.edits["token"].put
    assert put == {
        "bios": "ovmf",
        "machine": "q35",
        "balloon": "0",
        "vga": "serial0",
        "hostpci0": "mapping=card,pcie=1",
        "efidisk0": "local-zfs:1,efitype=4m,pre-enrolled-keys=0",
    }
    assert found.restart
    assert not found.edits["root@node"]


def test_only_a_volume_of_its_own_is_data(hub, have):
    volume, folder, disc = "tank:vm-201-disk-1,size=8G", "/dev/disk/by-path/pci-0000:00", "local:iso/x.iso,media=cdrom"
    found = look(hub, have("ai", {"scsi1": volume, "sata0": folder, "ide3": disc}))
    assert found.volumes == {"scsi1": volume}


def test_a_volume_that_is_attached_to_nothing_goes_only_with_a_loss_that_is_allowed(hub, have):
    guest = have("ai", {"unused0": "tank:vm-201-disk-1"})
    assert look(hub, guest).unused == {"unused0": "tank:vm-201-disk-1"}
    found = look(hub, guest, lose=True)
    assert found.edits["token"].delete == ["unused0"]
    assert found.volumes == found.unused


def test_a_removal_that_waits_counts_until_it_took_effect(hub, have):
    found = look(hub, have("db", current={"mp0": "tank:subvol-110-disk-1,mp=/data"}))
    assert found.differences == (Difference("mp0", "tank:subvol-110-disk-1,mp=/data", None),)
    assert found.restart
    assert not found.volumes
    assert not any(edit.keys for edit in found.edits.values())
    assert not look(hub, have("db", current={"mp0": "x:y"}, status="stopped"))
    assert not look(hub, have("db", current={"mp0": None}))


def test_what_root_alone_may_set_is_roots_to_write(hub, have):
    want = replace(
        wanted(hub, hub.guests["db"], KEYS), root_only={"features": "nesting=1,keyctl=1", "dev0": "/dev/kfd"}
    )
    found = deviation(want, have("db", {"memory": "1024", "features": "nesting=1,fuse=1"}))
    assert found.edits["root@node"].put == {"features": "nesting=1,keyctl=1,fuse=1", "dev0": "/dev/kfd"}
    assert set(found.edits["token"].put) == {"memory"}
    assert not deviation(want, have("db", {"features": "keyctl=1,nesting=1", "dev0": "/dev/kfd"}))


def test_an_address_of_a_running_machine_is_written_while_it_is_off(hub, have):
    moved = {"ipconfig0": "ip=10.10.20.9/24,gw=10.10.20.1"}
    assert look(hub, have("ai", moved)).cold
    assert not look(hub, have("ai", moved, status="stopped")).cold
    assert not look(hub, have("ai", {"memory": "1024"})).cold


SHARED = {"vram: 32GiB}": "vram: 32GiB, mode: lxc}", ", gpu: card": "", "disk: 64GiB}": "disk: 64GiB, gpu: card}"}
DEVICES = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"]


def test_a_container_that_shares_a_card_gets_device_nodes_from_root(make_hub, have):
    found = look(make_hub(SHARED), have("db"))
    assert found.edits["root@node"].put == {f"dev{n}": f"{path},mode=0666" for n, path in enumerate(DEVICES)}
    assert not found.edits["token"]
    assert found.restart
    assert found.cold, "Proxmox would plug them in unsaid"


def test_device_nodes_are_compared_by_what_they_mean(make_hub, have):
    hub = make_hub(SHARED)
    given = {f"dev{n}": f"mode=0666,path={path}" for n, path in enumerate(DEVICES)}
    assert not look(hub, have("db", given))
    narrow = look(hub, have("db", {**given, "dev0": "/dev/nvidia0,mode=0660"}))
    assert narrow.differences == (Difference("dev0", "/dev/nvidia0,mode=0660", "/dev/nvidia0,mode=0666"),)
    assert narrow.edits["root@node"].put == {"dev0": "/dev/nvidia0,mode=0666"}


def test_a_card_that_is_shared_no_more_leaves_its_container(hub, have):
    given = {f"dev{n}": f"{path},mode=0666" for n, path in enumerate(DEVICES)}
    found = look(hub, have("db", given))
    assert found.edits["root@node"].delete == ["dev0", "dev1", "dev2", "dev3"]
    assert found.restart
