"""What Proxmox rewrites compares equal; what a person changed is seen, field by field."""

from __future__ import annotations

import pytest
from aihub.plan import Difference
from aihub.proxmox.guests.compare import deviation, merged, parse_disk_size, waits_for_restart
from aihub.proxmox.guests.desired import wanted

KEYS = ["ssh-ed25519 AAAA me"]


def look(hub, found):
    return deviation(wanted(hub, hub.guests[found.name], KEYS), found)


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
        ("ai", "net0", "bridge=hubprivate,virtio=bc:24:11:00:00:c9"),
        ("ai", "ipconfig0", "gw=10.10.20.1,ip=10.10.20.11/24"),
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
        ("ai", "ipconfig0", "ip=dhcp", "ipconfig0.gw", None),
    ],
)
def test_a_changed_value_is_one_difference_and_is_written(hub, have, name, key, value, field, actual):
    found = look(hub, have(name, {key: value}))
    assert [d.actual for d in found.differences if d.field == field] == [actual]
    assert set(found.put) == {key}


def test_a_vlan_tag_that_nobody_wants_is_a_difference_and_goes(hub, have):
    net = have("db").config["net0"] + ",tag=7,rate=10"
    found = look(hub, have("db", {"net0": net}))
    assert found.differences == (Difference("net0.tag", "7", None),)
    assert "tag=" not in found.put["net0"]
    assert found.put["net0"].endswith(",rate=10")


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
    found = have("ai", current={"memory": "2048", "vga": "std"})
    seen = look(hub, found)
    assert seen.differences == (Difference("memory", "2GiB", "16GiB"),)
    assert seen.put is None
    assert seen.restart
    assert waits_for_restart(wanted(hub, hub.guests["ai"], KEYS), found)
    assert not look(hub, have("ai", current={"memory": "2048"}, status="stopped"))


def test_what_waits_without_being_ours_is_left_alone(hub, have):
    assert not look(hub, have("ai", current={"vga": None}))


def test_a_disk_grows(hub, have):
    found = look(hub, have("db", {"rootfs": "local-zfs:subvol-110-disk-0,size=32G"}))
    assert found.grow == 64 << 30
    assert found.differences == (Difference("disk", "32GiB", "64GiB"),)
    assert found.put is None


def test_a_disk_does_not_shrink(hub, have):
    found = look(hub, have("ai", {"scsi0": "local-zfs:vm-201-disk-0,size=1T"}))
    assert found.refused == ("its disk has 1TiB, hub.yml says 100GiB: disks only grow",)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rootfs": "tank:subvol-110-disk-0,size=64G"}, "its disk is on tank, hub.yml says local-zfs"),
        ({"unprivileged": None}, "it is a privileged container, hubs have unprivileged ones"),
        (
            {
                "net0": "name=eth0,bridge=hubprivate,gw=10.10.20.1,hwaddr=BC:24:11:00:00:6E,ip=10.10.20.9/24",
                "tags": "aihub;private",
            },
            "it is in zone private, hub.yml says infra",
        ),
    ],
)
def test_what_only_a_new_guest_can_be(hub, have, changes, why):
    assert look(hub, have("db", changes)).rebuild == (why,)


def test_a_bridge_changed_by_hand_is_repaired_in_place(hub, have):
    net = have("db").config["net0"].replace("hubinfra", "hubprivate")
    found = look(hub, have("db", {"net0": net}))
    assert not found.rebuild
    assert found.differences == (Difference("net0.bridge", "hubprivate", "hubinfra"),)


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
    assert without["description"] == "aihub:v1 hub=00112233445566ff vmid=110 guest=db"


def test_keys_of_a_vm_are_url_encoded_once_more(hub):
    assert wanted(hub, hub.guests["ai"], KEYS).create()["sshkeys"] == "ssh-ed25519%20AAAA%20me%0A"
