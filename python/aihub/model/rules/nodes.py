"""What a node has, and whether its guests fit."""

from __future__ import annotations

from collections.abc import Iterator

from ..derive import node_of
from ..findings import Finding
from ..hub import GuestSpec, HubFile, LabNode
from ..types import format_size


def check(file: HubFile, target: str) -> Iterator[Finding]:
    """Cards named twice; in the lab also memory and cores, which a real node tells only later."""
    for name, node in file.nodes.items():
        cards: dict[str, str] = {}
        for card, value in node.gpus.items():
            if value.id in cards:
                text = f"{value.id} is the id of {cards[value.id]} already: it can't tell the two apart"
                yield Finding(("nodes", name, "gpus", card, "id"), text)
            cards.setdefault(value.id, card)
        if target == "lab" and node.lab is not None:
            guests = {guest: spec for guest, spec in file.guests.items() if node_of(file, spec) == name}
            yield from _budget(name, node.lab, guests)


def _budget(name: str, size: LabNode, guests: dict[str, GuestSpec]) -> Iterator[Finding]:
    wanted = sum(spec.memory for spec in guests.values())
    if wanted > size.memory:
        largest = sorted(guests, key=lambda guest: -guests[guest].memory)[:3]
        named = ", ".join(f"{guest} {format_size(guests[guest].memory)}" for guest in largest)
        text = (
            f"guests of {name} want {format_size(wanted)} and it has {format_size(size.memory)}: "
            f"over budget by {format_size(wanted - size.memory)}; the largest are {named}"
        )
        yield Finding(("nodes", name, "lab", "memory"), text)
    for guest, spec in guests.items():
        if spec.cores > size.cores:
            text = f"{spec.cores} cores are more than node {name} has, {size.cores}"
            yield Finding(("guests", guest, "cores"), text)
