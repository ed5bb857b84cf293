"""What is allowed and still worth a word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .. import copying
from ..derive import node_of
from ..families import family_of
from ..hub import HubFile
from ..resolved import Instance
from ..stack import COPIES
from ..target import Target
from ..types import format_size

NODE_ITSELF = 8 << 30
"""What the node needs beside its guests: system, ZFS cache."""


def warnings(file: HubFile, instances: Iterable[Instance], target: Target) -> tuple[str, ...]:
    """One sentence each."""
    every = tuple(instances)
    found = (*_cards(file, every), *_mixed(file), *_shared(file, every), *_alone(every), *_copies(every))
    return (*_storages(file), *_memory(file, target), *found)


def _storages(file: HubFile) -> Iterator[str]:
    for name, node in file.nodes.items():
        used = {storage.use for storage in node.storage.values()}
        if len(used) == 1:
            yield f"node {name} has one storage, {used.pop()}: what fails takes data and copies with it"


def _memory(file: HubFile, target: Target) -> Iterator[str]:
    for name, node in file.nodes.items():
        if not target.sized_by_hub_file or node.lab is None:
            continue
        left = node.lab.memory - sum(spec.memory for spec in file.guests.values() if node_of(file, spec) == name)
        if left < NODE_ITSELF:
            yield f"node {name} keeps {format_size(left)} for itself, less than {format_size(NODE_ITSELF)}"


def _cards(file: HubFile, instances: Iterable[Instance]) -> Iterator[str]:
    for name, model in file.models.items():
        on_card = model.guest in file.guests and file.guests[model.guest].gpu
        if on_card and model.memory is None and model.use == "chat" and family_of(model.weights) is None:
            yield f"model {name}: its name does not tell what its context takes of the card; say `memory` in hub.yml"
    for instance in instances:
        if instance.stack.gpu.need != "none" and instance.guest.gpu is None:
            yield f"{instance.name} has no card: it computes on the processor, slowly"


def _mixed(file: HubFile) -> Iterator[str]:
    """A card that guests of several zones share."""
    users: dict[tuple[str | None, str], dict[str, str]] = {}  # of each card a guest of each zone
    for guest, spec in file.guests.items():
        if spec.gpu:
            users.setdefault((node_of(file, spec), spec.gpu), {}).setdefault(spec.zone, guest)
    for (_, card), zones in users.items():
        if len(zones) > 1:
            both = " and ".join(f"{guest} of {zone}" for zone, guest in zones.items())
            yield f"{both} share card {card}: the node's driver alone keeps what they have in its memory apart"


def _shared(file: HubFile, instances: Iterable[Instance]) -> Iterator[str]:
    """A server that holds data of a zone without a way out, and lets another zone in that is not the server's own."""
    every = {instance.name: instance for instance in instances}
    users: dict[str, dict[str, Instance]] = {}  # of each server, the first of each zone
    for instance in every.values():
        for _, provider in instance.used:
            users.setdefault(provider, {}).setdefault(instance.guest.zone, instance)
    closed = {zone for zone, spec in file.zones.items() if spec.internet == "none"}
    for name, by_zone in users.items():
        server = every[name]
        for one in (one for zone, one in by_zone.items() if zone in closed and server.stack.data):
            others = [o for zone, o in by_zone.items() if zone not in (one.guest.zone, server.guest.zone)]
            if others:
                zone = one.guest.zone
                kinds = " and ".join(kind for kind, provider in one.used if provider == name)
                yield (
                    f"{name} holds data of zone {zone}, which has no way out ({one.name}), and zone "
                    f"{others[0].guest.zone} gets in there, too ({others[0].name}): "
                    f"a guest of zone {zone} with {kinds} would keep them apart"
                )


def _alone(instances: Iterable[Instance]) -> Iterator[str]:
    for instance in instances:
        for kind, names in instance.every.items():
            if not names:
                yield f"{instance.name} uses all {kind} of zone {instance.guest.zone}, and nothing there gives any"


def _copies(instances: Iterable[Instance]) -> Iterator[str]:
    every = tuple(instances)
    kept = [one.name for one in every if copying.copied(one)]
    if kept and not any(COPIES in one.stack.gives for one in every):
        yield f"no copies are made of the data of {', '.join(kept)}: add a stack that gives {COPIES}, or make your own"
