"""The walls: real connects between guests and outwards; what hub.yml allows works, nothing else does.

A refused connect proves nothing about a port on which nobody listens. So each refusal needs its positive
control: in the same run, the same port answered somebody who may reach it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from ipaddress import IPv4Network
from urllib.parse import urlsplit

import pytest

from aihub.model.resolved import Guest, Hub

from . import probes
from .context import NODE, Context
from .probes import OPEN, Place, Round

pytestmark = [pytest.mark.about("zones"), pytest.mark.together, pytest.mark.slow]

SSH, DNS, API = 22, 53, 8006
FORBIDDEN = "https://forbidden.example.com/"  # a reserved name: no allow-list may hold it


def allowed(hub: Hub, guest: Guest) -> set[Place]:
    """The places of other guests that the flows let a guest reach."""
    mine = [f for f in hub.flows if f.protocol == "tcp" and guest.address in IPv4Network(f.source)]
    return {Place(f.destination, f.port) for f in mine if f.destination != str(guest.address)}


def silent(context: Context) -> set[Place]:
    """The ports of instances that are not started yet: nobody answers there."""
    instances = map(context.hub.instance, context.waiting)
    return {Place(str(i.guest.address), port.port) for i in instances for port in i.stack.gives.values()}


def node_doors(hub: Hub, guest: Guest) -> list[Place]:
    """Where the node's own services would answer a guest."""
    addresses = (str(hub.nodes[guest.node].address), str(guest.gateway))
    return [Place(address, port) for address in addresses for port in (SSH, API)]


@pytest.fixture(scope="session")
def matrix(context: Context, hub: Hub) -> Round:
    """Every guest tries every served port, everybody's ssh and the node's doors."""
    served = {Place(f.destination, f.port) for f in hub.flows if f.protocol == "tcp"} - silent(context)
    common = served | {Place(str(g.address), SSH) for g in hub.guests.values()}
    own = {name: {*node_doors(hub, g), Place(str(g.gateway), DNS)} for name, g in hub.guests.items()}
    return Round(context.shells, {name: sorted(common | own[name]) for name in hub.guests})


def proven(hub: Hub, matrix: Round) -> set[Place]:
    """The places that answered somebody who may reach them: another guest, or their own."""
    found = set()
    for guest in hub.guests.values():
        may = allowed(hub, guest)
        found |= {p for p in matrix.reached(guest.name) if p in may or p.address == str(guest.address)}
    return found


def test_allowed(matrix: Round, guest: Guest, hub: Hub, context: Context) -> None:
    """it reaches every port that hub.yml lets it reach"""
    found = matrix.of(guest.name)
    assert not {str(p): found[p] for p in sorted(allowed(hub, guest) - silent(context)) if found[p] != OPEN}


def test_denied(matrix: Round, guest: Guest, hub: Hub) -> None:
    """it reaches nothing else of the hub, not even ssh of its neighbours"""
    others = {str(other.address) for other in hub.guests.values() if other is not guest}
    denied = {
        place: answer
        for place, answer in matrix.of(guest.name).items()
        if place.address in others and place not in allowed(hub, guest)
    }
    assert not [str(p) for p, answer in denied.items() if answer == OPEN]
    unproven = [str(p) for p in denied if p not in proven(hub, matrix)]
    assert not unproven, "nobody reaches these ports, so their refusal proves nothing"


def test_node_is_closed(context: Context, matrix: Round, guest: Guest, hub: Hub) -> None:
    """of the node it reaches DNS, but neither ssh nor the Proxmox API"""
    found = matrix.of(guest.name)
    assert found[Place(str(guest.gateway), DNS)] == OPEN, "the gateway's DNS does not answer"
    doors = node_doors(hub, guest)
    assert not [str(door) for door in doors if found[door] == OPEN]
    address = str(hub.nodes[guest.node].address)
    control = probes.connect(context.shells.shell(NODE), [Place(address, port) for port in (SSH, API)])
    assert set(control.values()) == {OPEN}, "the node itself does not answer there: the refusal proves nothing"


@dataclass(frozen=True)
class Outside:
    """A host outside the hub that answers guests with internet: the control of every wall outwards."""

    url: str
    name: str
    place: Place


@pytest.fixture(scope="session")
def outside(context: Context, hub: Hub) -> Outside:
    """The first package source that a guest with internet resolves and reaches, of those that the hub lets through.

    What else stands on that guest leads no other anywhere.
    """
    tried = []
    for guest in (g for g in hub.guests.values() if g.internet):
        shell = context.shells.shell(guest.name)
        for url in probes.package_sources(shell):
            parts = urlsplit(url)
            name = parts.hostname or ""
            if hub.package_hosts and not any(fnmatch(name, host) for host in hub.package_hosts):
                continue
            for address in probes.addresses_of(shell, name)[:1]:
                place = Place(address, parts.port or (443 if parts.scheme == "https" else 80))
                if probes.connect(shell, [place], 5.0)[place] == OPEN:
                    return Outside(url, name, place)
            tried.append(f"{url} from {guest.name}")
        break
    what = ", ".join(tried) or "nothing"
    raise AssertionError(f"no guest reaches anything outside, so no wall can be proven; tried: {what}")


@pytest.mark.guests(internet=True)
def test_way_out(context: Context, guest: Guest, outside: Outside) -> None:
    """it resolves and reaches the outside"""
    shell = context.shells.shell(guest.name)
    assert probes.addresses_of(shell, outside.name), f"{outside.name} does not resolve"
    assert probes.connect(shell, [outside.place], 5.0)[outside.place] == OPEN


@pytest.mark.guests(internet=False)
def test_no_way_out(context: Context, guest: Guest, outside: Outside) -> None:
    """it has no way out: outside addresses don't answer it"""
    found = probes.connect(context.shells.shell(guest.name), [outside.place], 3.0)
    assert found[outside.place] != OPEN


@pytest.mark.guests(internet=False)
def test_no_outside_names(context: Context, guest: Guest, outside: Outside) -> None:
    """it resolves no outside name"""
    assert probes.addresses_of(context.shells.shell(guest.name), outside.name) == []


def _proxy(hub: Hub) -> Place:
    if hub.way_out is None:
        pytest.skip("this hub has no way out for closed zones")
    address, port = hub.way_out
    return Place(str(address), port)


@pytest.mark.guests(internet=False)
def test_egress_allows(context: Context, guest: Guest, hub: Hub, outside: Outside) -> None:
    """through the way out it reaches its package source"""
    status = probes.through_proxy(context.shells.shell(guest.name), _proxy(hub), outside.url)
    assert 200 <= status < 400 or status == 404, f"{outside.url}: {status}"


@pytest.mark.guests(internet=False)
def test_egress_refuses(context: Context, guest: Guest, hub: Hub) -> None:
    """the way out refuses it what nobody declared"""
    assert probes.through_proxy(context.shells.shell(guest.name), _proxy(hub), FORBIDDEN) == 403


@pytest.mark.guests(internet=False)
def test_egress_is_no_bridge(context: Context, guest: Guest, hub: Hub) -> None:
    """the way out does not lead it back into the hub"""
    inside = [f"https://{address}/" for g in hub.guests.values() for address in (g.address, g.fqdn) if g != guest]
    shell = context.shells.shell(guest.name)
    assert {url: probes.through_proxy(shell, _proxy(hub), url) for url in inside} == dict.fromkeys(inside, 403)
