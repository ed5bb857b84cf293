"""What stands for the internet in a lab, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub.names import is_public
from aihub.targets.lab import Lab, World
from aihub.targets.pve import Pve

WORLD = World(
    name="test",
    netns="test",
    api_host="127.0.0.1",
    api_port=1,
    certificate=Path("none"),
    node_address="192.168.1.10",
    node_host_key="none",
    registry_address="10.255.255.2",
    package_addresses=("151.101.2.132", "203.0.113.80"),
)


def test_a_lab_adds_its_registry_and_mirrors_that_are_no_public_hosts_and_says_so():
    lab = Lab("test")
    assert lab.outside == ()
    lab.world = WORLD
    assert lab.outside == ("10.255.255.2", "203.0.113.80")
    assert [note for note in lab.notes if "10.255.255.2, 203.0.113.80" in note]


def test_on_a_real_node_nothing_does():
    assert Pve().outside == ()


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.0.1"]
)
def test_homes_have_no_public_addresses(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["9.9.9.9", "100.63.255.255", "172.32.0.1", "192.1.0.1", "223.255.255.255"])
def test_hosts_of_the_internet_have(address):
    assert is_public(address)
