"""What an instance's containers can reach, tried from inside: what it needs, and nothing else of the hub.

A refusal proves nothing about a port on which nobody listens. Its control is the guest itself, which reaches its own
ssh, and the walls between guests (test_zones.py), where the same ports answered.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aihub.model.resolved import Hub, Instance
from aihub.parallel import Answers
from aihub.render import containers

from . import enclosed, probes
from .context import Context
from .enclosed import SSH, Tried
from .probes import OPEN, Place

pytestmark = [pytest.mark.together, pytest.mark.slow]
Tries = Answers[str, dict[str, Tried]]


def with_network(hub: Hub) -> Iterator[Instance]:
    """The instances whose containers are not simply in the network of their guest."""
    return (instance for instance in hub.instances if containers.networks(instance))


@pytest.fixture(scope="session")
def enclosures(context: Context, hub: Hub) -> Tries:
    """Every container tries what it should reach and what it should not."""

    def tried(guest: str) -> dict[str, Tried]:
        own = [i for i in with_network(hub) if i.guest.name == guest and i.name not in context.waiting]
        wanted = {i.stack.name: [*enclosed.reached(hub, i), *enclosed.closed(hub, i)] for i in own}
        return enclosed.ask(context.shells.shell(guest), wanted)

    return Answers({instance.guest.name for instance in with_network(hub)}, tried)


@pytest.mark.among(who=with_network)
def test_reach(enclosures: Tries, context: Context, instance: Instance, hub: Hub) -> None:
    """its containers reach what it needs, and neither their own guest nor anything else of the hub"""
    tried = enclosures.of(instance.guest.name)[instance.stack.name]
    silent = {hub.instance(name).guest.address for name in context.waiting}
    needed = [place for place in enclosed.reached(hub, instance) if place.address not in map(str, silent)]
    assert {answer for place in needed for answer in tried.answers[place]} == {OPEN}, tried.of(needed)
    denied = [place for place in enclosed.closed(hub, instance) if OPEN in tried.answers[place]]
    assert not denied, tried.of(denied)
    ssh = Place(str(instance.guest.address), SSH)
    assert probes.connect(context.shells.shell(instance.guest.name), [ssh])[ssh] == OPEN, "it proves nothing"
