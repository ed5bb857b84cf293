"""What stands for the internet in a lab, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from aihub.errors import PreconditionFailed
from aihub.names import is_public
from aihub.targets.lab import Lab, World
from aihub.targets.pve import Pve

from tests.unit.aihub.hubs import small

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


def test_another_address_of_the_lab_s_node_is_refused():
    lab, hub = Lab("test"), small()
    lab.require_place(hub)  # nobody has looked yet
    lab.world = WORLD
    lab.require_place(hub)
    lab.world = replace(WORLD, node_address="192.168.1.99")
    with pytest.raises(PreconditionFailed, match=r"is at 192\.168\.1\.99, hub.yml says 192\.168\.1\.10") as refused:
        lab.require_place(hub)
    assert "put 192.168.1.99 back" in refused.value.hint
    Pve().require_place(hub)


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
