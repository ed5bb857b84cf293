"""The way out never overlaps a subnet of the hub."""

from ipaddress import IPv4Network

import pytest
from pvelab.world import uplink
from pvelab.world.errors import LabError


def test_a_taken_network_is_avoided() -> None:
    first = uplink.choose([])
    assert not uplink.choose([first.network]).network.overlaps(first.network)


def test_no_free_network_is_an_error() -> None:
    with pytest.raises(LabError, match="overlaps"):
        uplink.choose([IPv4Network("0.0.0.0/0")])


def test_gateway_and_resolver_are_where_slirp4netns_puts_them() -> None:
    way_out = uplink.Uplink(IPv4Network("100.127.254.0/24"))
    assert (str(way_out.gateway), str(way_out.dns)) == ("100.127.254.2", "100.127.254.3")
