"""The walls: real connects between guests and outwards; what hub.yml allows works, nothing else does.

A refused connect proves nothing about a port on which nobody listens. So each refusal needs its positive
control: in the same run, the same port answered somebody who may reach it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from urllib.parse import urlsplit

import pytest

from aihub.errors import Unreachable
from aihub.model.resolved import Guest, Hub

from . import probes
from .context import NODE, Context
from .probes import OPEN, Place

pytestmark = pytest.mark.about("zones")

SSH = 22
FORBIDDEN = "https://forbidden.example.com/"  # a reserved name: no allow-list may hold it


@dataclass(frozen=True)
class Matrix:
    """What each guest got when it tried each place of the hub, and what each machine got from itself."""

    answers: dict[str, dict[Place, str]]
    proven: frozenset[Place]  # places that answered somebody who may reach them


def allowed(hub: Hub, guest: Guest) -> set[Place]:
    """The places of other guests that the flows let a guest reach."""
    mine = [f for f in hub.flows if f.protocol == "tcp" and guest.address in IPv4Network(f.source)]
    return {Place(f.destination, f.port) for f in mine if f.destination != str(guest.address)}


@pytest.fixture(scope="session")
def matrix(context: Context, hub: Hub) -> Matrix:
    """One round of connects from every guest at the same time."""
    served = {Place(f.destination, f.port) for f in hub.flows if f.protocol == "tcp"}
    doors = {Place(str(g.address), SSH) for g in hub.guests.values()}
    places = sorted(served | doors)

    def ask(guest: Guest) -> dict[Place, str]:
        try:
            return probes.connect(context.shells.shell(guest.name), places)
        except Unreachable as error:
            return dict.fromkeys(places, str(error))  # its own claims fail; the others' are still judged

    with ThreadPoolExecutor(max(1, len(hub.guests))) as pool:
        answers = dict(zip(hub.guests, pool.map(ask, hub.guests.values()), strict=True))
    return Matrix(answers, frozenset(_proven(hub, answers)))


def _proven(hub: Hub, answers: dict[str, dict[Place, str]]) -> set[Place]:
    proven = set()
    for name, found in answers.items():
        guest = hub.guests[name]
        own = {p for p in found if p.address == str(guest.address)}
        proven |= {p for p in own | allowed(hub, guest) if found.get(p) == OPEN}
    return proven


def test_allowed(matrix: Matrix, guest: Guest, hub: Hub) -> None:
    """it reaches every port that hub.yml lets it reach"""
    found = matrix.answers[guest.name]
    assert not {str(p): found[p] for p in sorted(allowed(hub, guest)) if found[p] != OPEN}


def test_denied(matrix: Matrix, guest: Guest, hub: Hub) -> None:
    """it reaches nothing else of the hub, not even ssh of its neighbours"""
    denied = {
        place: answer
        for place, answer in matrix.answers[guest.name].items()
        if place not in allowed(hub, guest) and IPv4Address(place.address) != guest.address
    }
    assert not [str(p) for p, answer in denied.items() if answer == OPEN]
    unproven = [str(p) for p in denied if p not in matrix.proven]
    assert not unproven, "nobody reaches these ports, so their refusal proves nothing"


def test_node_is_closed(context: Context, guest: Guest, hub: Hub) -> None:
    """of the node it reaches DNS, but neither ssh nor the Proxmox API"""
    address = str(hub.nodes[guest.node].address)
    doors = [Place(a, port) for a in (address, str(guest.gateway)) for port in (SSH, 8006)]
    found = probes.connect(context.shells.shell(guest.name), [*doors, Place(str(guest.gateway), 53)])
    assert found.pop(Place(str(guest.gateway), 53)) == OPEN, "the gateway's DNS does not answer"
    assert not [str(p) for p, answer in found.items() if answer == OPEN]
    control = probes.connect(context.shells.shell(NODE), [Place(address, SSH), Place(address, 8006)])
    assert set(control.values()) == {OPEN}, "the node itself does not answer there: the refusal proves nothing"


@dataclass(frozen=True)
class Outside:
    """A host outside the hub that answers guests with internet: the control of every wall outwards."""

    url: str
    name: str
    place: Place


@pytest.fixture(scope="session")
def outside(context: Context, hub: Hub) -> Outside:
    """The first package source that a guest with internet resolves and reaches."""
    tried = []
    for guest in (g for g in hub.guests.values() if g.internet):
        shell = context.shells.shell(guest.name)
        for url in probes.package_sources(shell):
            parts = urlsplit(url)
            name = parts.hostname or ""
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
    if not (egress := hub.egress):
        pytest.skip("this hub has no egress proxy")
    return Place(str(egress.guest.address), next(iter(egress.stack.gives.values())).port)


@pytest.mark.guests(internet=False)
def test_egress_allows(context: Context, guest: Guest, hub: Hub, outside: Outside) -> None:
    """through the egress proxy it reaches its package source"""
    status = probes.through_proxy(context.shells.shell(guest.name), _proxy(hub), outside.url)
    assert 200 <= status < 400 or status == 404, f"{outside.url}: {status}"


@pytest.mark.guests(internet=False)
def test_egress_refuses(context: Context, guest: Guest, hub: Hub) -> None:
    """the egress proxy refuses it what nobody declared"""
    assert probes.through_proxy(context.shells.shell(guest.name), _proxy(hub), FORBIDDEN) == 403


@pytest.mark.guests(internet=False)
def test_egress_is_no_bridge(context: Context, guest: Guest, hub: Hub) -> None:
    """the egress proxy does not lead it back into the hub"""
    inside = [f"https://{address}/" for g in hub.guests.values() for address in (g.address, g.fqdn) if g != guest]
    shell = context.shells.shell(guest.name)
    assert {url: probes.through_proxy(shell, _proxy(hub), url) for url in inside} == dict.fromkeys(inside, 403)
