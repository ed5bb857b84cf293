"""Property strings are taken apart and put together again without a loss, whatever way Proxmox spells them."""

from __future__ import annotations

import pytest
from aihub.proxmox.properties import addresses, join, macs, parse

CONTAINER = "name=eth0,bridge=hubinfra,gw=10.10.10.1,hwaddr=BC:24:11:00:00:6E,ip=10.10.10.11/24,tag=7,type=veth"
MACHINE = "virtio=BC:24:11:00:00:C9,bridge=hubprivate,firewall=1"


@pytest.mark.parametrize(
    ("key", "text", "parts"),
    [
        ("net0", MACHINE, {"model": "virtio", "macaddr": "BC:24:11:00:00:C9", "bridge": "hubprivate", "firewall": "1"}),
        ("net12", "e1000-82540em,bridge=x", {"model": "e1000-82540em", "bridge": "x"}),
        ("net0", " model=virtio,macaddr=AA ", {"model": "virtio", "macaddr": "AA"}),
        ("agent", "1,type=virtio", {"enabled": "1", "type": "virtio"}),
        ("scsi1", "tank:vm-201-disk-1,size=8G", {"volume": "tank:vm-201-disk-1", "size": "8G"}),
        ("ide2", "file=local:iso/x.iso,media=cdrom", {"volume": "local:iso/x.iso", "media": "cdrom"}),
        ("mp0", "volume=/srv/data,mp=/data", {"volume": "/srv/data", "mp": "/data"}),
        ("hostpci0", "0000:01:00,pcie=1", {"host": "0000:01:00", "pcie": "1"}),
        ("features", "nesting=1,mount=nfs;cifs", {"nesting": "1", "mount": "nfs;cifs"}),
        ("net0", "", {}),
    ],
)
def test_a_property_string_by_its_parts(key, text, parts):
    assert parse(key, text) == parts


@pytest.mark.parametrize("text", [CONTAINER, MACHINE, "e1000,bridge=x"])
def test_what_was_taken_apart_is_put_together_the_same(text):
    assert join(parse("net0", text)) == text


def test_a_part_without_a_value_is_left_out():
    assert join({"model": "virtio", "macaddr": None, "bridge": "x", "tag": None}) == "virtio,bridge=x"


def test_the_addresses_that_a_guest_holds():
    config = {"net0": CONTAINER, "net1": f"{MACHINE},ip=dhcp", "ipconfig3": "ip=10.0.0.9/16,ip6=fd00::9/64"}
    assert addresses({**config, "description": "ip=10.0.0.1/24"}) == {"10.10.10.11", "10.0.0.9"}
    assert macs({**config, "net2": "virtio=bc:24:11:aa:aa:aa"}) == {
        "BC:24:11:00:00:6E", "BC:24:11:00:00:C9", "BC:24:11:AA:AA:AA",
    }  # fmt: skip
