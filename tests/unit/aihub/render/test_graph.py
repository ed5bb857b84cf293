"""Pictures of the hub."""

from __future__ import annotations

import pytest
from aihub import paths
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.render import graph


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


def test_the_private_and_the_public_zone_are_never_linked(hub: Hub) -> None:
    zone = {**{name: guest.zone for name, guest in hub.guests.items()}, **{z: z for z in hub.zones}}
    pairs = {(zone[link.source], zone[link.destination]) for link in graph.links(hub)}
    assert pairs
    assert not pairs & {("private", "public"), ("public", "private")}


def test_a_link_names_the_service_behind_the_port(hub: Hub) -> None:
    assert any("ollama" in link.label for link in graph.links(hub) if link.destination == "private-ai")


def test_mermaid_shows_every_zone_guest_and_stack(hub: Hub) -> None:
    text = graph.mermaid(hub)
    assert text.startswith("flowchart ")
    assert all(f"zone_{zone}[" in text for zone in hub.zones)
    assert all(f"<b>{guest}</b>" in text for guest in hub.guests)
    assert all(f"<br/>{instance.stack.name}" in text for instance in hub.instances)
