"""The internet is public addresses: a guest that reaches it reaches neither the home around the node nor the node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aihub.model.resolved import Hub
from aihub.names import Layout

from tests.attacks import frames, home
from tests.lab.cli import Cli

GUESTS = {"public-ai": "others may use it", "cache": "the way out stands there", "private-ai": "it has no internet"}
# What a proxy answers to a tunnel; it may remember for a minute that a name led nowhere before.
TUNNEL = """
import json, socket, sys, time
address, port, name = json.loads(sys.argv[1])
status, end = "503", time.monotonic() + 90
while status == "503" and time.monotonic() < end:
    with socket.create_connection((address, port), 30) as link:
        link.sendall(f"CONNECT {name}:443 HTTP/1.1\\r\\nHost: {name}:443\\r\\n\\r\\n".encode())
        status = link.recv(4096).split()[1].decode()
    time.sleep(1)
print(status)
"""


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


@pytest.fixture
def names(hub: Cli, resolved: Hub) -> Iterator[dict[str, str]]:
    """Hosts that the way out lets through, at addresses that whoever holds their names may choose."""
    places = {
        "production.cloudflare.docker.com": home.PUBLIC,
        "auth.docker.io": home.LAN[0],
        "dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com": "127.0.0.1",
        "registry.ollama.ai": str(resolved.guests["public-ai"].address),
    }
    layout = Layout(resolved.name)
    again = f"systemctl restart {layout.dns_unit}"
    kept = hub.on("node", f"cat {layout.dns}")
    others = [line for line in kept.splitlines() if not any(f'"{name}.' in line for name in places)]
    lines = [f'local-data: "{name}. 1 IN A {address}"' for name, address in places.items()]
    assert others[1] == "server:"
    hub.on("node", f"cat >{layout.dns}; {again}", "\n".join([*others[:2], *lines, *others[2:], ""]))
    try:
        yield places
    finally:
        hub.on("node", f"cat >{layout.dns}; {again}", f"{kept}\n")


def test_a_listed_name_leads_nobody_into_the_home(hub: Cli, around: None, resolved: Hub, names: dict[str, str]) -> None:
    """The way out asks where a host is, not only what it is called; one at a public address is the control."""
    assert resolved.way_out is not None
    assert set(names) <= set(resolved.egress_hosts)
    proxy = [str(resolved.way_out[0]), resolved.way_out[1]]
    found = {
        address: hub.on("private-ai", f"python3 - {frames.argument(*proxy, name)}", TUNNEL)
        for name, address in names.items()
    }
    assert found == {address: "200" if address == home.PUBLIC else "403" for address in names.values()}
