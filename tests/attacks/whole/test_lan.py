"""The internet is public addresses: a guest that reaches it reaches neither the home around the node nor the node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aihub.model.resolved import Hub

from tests.attacks import home
from tests.lab.cli import Cli

GUESTS = {"public-ai": "others may use it", "cache": "the way out stands there", "private-ai": "it has no internet"}


@pytest.fixture(scope="module")
def around(hub: Cli) -> Iterator[None]:
    with home.around(hub):
        yield


@pytest.mark.parametrize("guest", GUESTS)
def test_the_home_is_out_of_reach_and_the_internet_is_not(hub: Cli, around: None, resolved: Hub, guest: str) -> None:
    """Hosts of every range that is not public, over TCP and UDP; a public one in the same place is the control."""
    private = [(a, port, kind) for a in (*home.LAN, *home.ELSEWHERE) for port, kind in ((445, "tcp"), (8443, "udp"))]
    public = [(home.PUBLIC, 445, "tcp"), (home.PUBLIC, 8443, "udp")]
    there = {f"{a}:{port}/{kind}" for a, port, kind in private}
    assert home.reached(hub, "node", private) == there
    expected = {f"{a}:{port}/{kind}" for a, port, kind in public if resolved.guests[guest].internet}
    assert home.reached(hub, guest, [*private, *public]) == expected


@pytest.mark.parametrize("guest", ["public-ai", "cache"])
def test_the_node_has_no_door_at_any_of_its_addresses(hub: Cli, resolved: Hub, guest: str) -> None:
    """Neither where it stands in the LAN nor where it looks out, nor as another zone's gateway."""
    mine = str(resolved.guests[guest].gateway)
    every = hub.on("node", 'ip -4 -o address show | awk \'{sub("/.*", "", $4); print $4}\'').split()
    doors = [(address, port, "any") for address in every if address != "127.0.0.1" for port in (22, 8006)]
    served = [(address, 53, "any") for address in every if address != "127.0.0.1"]
    assert f"{resolved.nodes['pve'].address}:22/any" in home.reached(hub, "node", doors)
    assert home.reached(hub, guest, [*doors, *served]) == {f"{mine}:53/any"}
