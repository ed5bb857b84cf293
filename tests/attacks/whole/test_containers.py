"""Who is root in a container tries what is beside it: the store, databases of others, its own guest, the node.

Each place is tried with a real connect from inside; what its stack needs is the control. That the same ports answer
somebody else is what the walls between guests show (`aihub verify zones`), and the guest's own ssh here.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from aihub.checks import enclosed, probes
from aihub.checks.context import Context
from aihub.checks.enclosed import SSH
from aihub.checks.probes import OPEN, Place
from aihub.model.resolved import Hub, Instance

from tests.lab.cli import Cli

INSIDE = ("canary@public-ai", "canary@monitoring", "canary@private-ai", "redis@cache", "ollama@private-ai")
RAW = "perl -e 'socket(my $s, $ARGV[0], 3, $ARGV[1]) or die qq($!\\n); print qq(open\\n)'"
CONNECT = (
    "perl -MSocket -e 'socket(my $s, 2, 1, 0); connect($s, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) and print 1'"
)


def tried(inside: Context, name: str, places: list[Place]) -> dict[Place, bool]:
    """What answers the containers of an instance."""
    instance = inside.hub.instance(name)
    found = enclosed.ask(inside.shells.shell(instance.guest.name), {instance.stack.name: places})
    return {place: OPEN in found[instance.stack.name].answers[place] for place in places}


def bridge(hub: Cli, instance: Instance) -> Place:
    """ssh of the guest at the address that its container has for it."""
    name = f"{instance.stack.name}-{instance.stack.name}-1"
    shown = f"docker inspect {name} --format '{{{{range .NetworkSettings.Networks}}}}{{{{.Gateway}}}}{{{{end}}}}'"
    return Place(hub.on(instance.guest.name, shown), SSH)


@pytest.mark.parametrize("name", INSIDE)
def test_nothing_but_what_the_stack_needs_answers_a_container(
    hub: Cli, inside: Context, resolved: Hub, name: str
) -> None:
    instance = resolved.instance(name)
    own, theirs = enclosed.reached(resolved, instance), enclosed.closed(resolved, instance)
    found = tried(inside, name, [*own, *theirs, bridge(hub, instance)])
    assert all(found[place] for place in own), "what it needs works"
    assert Place("10.10.10.13", 8200) in theirs, "the store is among what was tried"
    assert Place(str(instance.guest.address), SSH) in theirs
    assert {str(place) for place, answered in found.items() if answered} == {str(place) for place in own}


def outside(inside: Context, guest: str) -> Place:
    """A host outside the hub that a guest reaches: its package source."""
    shell = inside.shells.shell(guest)
    for url in probes.package_sources(shell):
        parts = urlsplit(url)
        for address in probes.addresses_of(shell, parts.hostname or "")[:1]:
            place = Place(address, parts.port or (443 if parts.scheme == "https" else 80))
            if probes.connect(shell, [place])[place] == OPEN:
                return place
    raise AssertionError("nothing outside answers, so nothing is proven")


def test_who_names_no_host_outside_has_no_way_out(inside: Context) -> None:
    place = outside(inside, "public-ai")
    assert tried(inside, "canary@public-ai", [place]) == {place: False}
    assert tried(inside, "egress@cache", [place]) == {place: True}, "whose need it is reaches it"


def test_the_guest_itself_still_reaches_its_store_and_its_door(hub: Cli) -> None:
    """The walls are the containers'; what the machine needs is not behind them."""
    ask = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5); print('open')"
    for address, port in (("10.10.10.13", 8200), ("10.10.30.11", SSH)):
        assert hub.on("public-ai", f'python3 -c "{ask}" {address} {port}') == "open"


def test_root_in_a_container_has_no_raw_sockets(hub: Cli) -> None:
    """With one it would speak as somebody else: ICMP, packets of its own making, and of every protocol below IP."""
    execute = "docker exec --user 0 canary-valkey-1"
    for family, protocol in ((2, 1), (2, 255), (17, 0x0300)):
        said = hub.on("public-ai", f"{execute} {RAW} {family} {protocol} 2>&1 || true")
        assert "not permitted" in said, said
    assert hub.on("public-ai", f"{execute} {CONNECT} 10.10.10.12 6379") == "1", "root there, and an ordinary socket"
    assert hub.on("public-ai", f"{RAW} 2 1") == "open", "root of the guest may"


def test_a_container_that_nobody_declares_reaches_nothing(hub: Cli) -> None:
    """In a network of Docker's own, or one made by hand, whatever it is called."""
    image = json.loads(hub.on("public-ai", "docker inspect canary-valkey-1"))[0]["Config"]["Image"]
    hub.on("public-ai", "docker network create br-other >/dev/null")
    try:
        for network in ("bridge", "br-other"):
            run = f"docker run --rm --network {network} --entrypoint timeout {image} 5"
            for address, port in (("10.10.10.12", 6379), ("10.10.10.13", 8200), ("10.10.30.11", SSH)):
                assert hub.on("public-ai", f"{run} {CONNECT} {address} {port} || true") == ""
    finally:
        hub.on("public-ai", "docker network rm br-other")
