"""What a node has, and whether its guests fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..derive import node_of
from ..findings import Finding, did_you_mean
from ..hub import GuestSpec, HubFile, LabNode, Node, StorageClass
from ..target import Target
from ..types import format_size

_TAKEN = re.compile(r"(?:mirror|raidz|draid|spare)|(?:log|rpool|bpool)$|c[0-9]")
"""What ZFS itself calls other things, and the pools that systems start from."""
NVIDIA = "10de:"


def check(file: HubFile, target: Target) -> Iterator[Finding]:
    """Cards and disks named twice; where hub.yml says how large a node is, also memory, cores and disks."""
    for name, node in file.nodes.items():
        yield from _cards(name, node)
        yield from _made(name, node)
        if target.sized_by_hub_file and node.lab is not None:
            guests = {guest: spec for guest, spec in file.guests.items() if node_of(file, spec) == name}
            yield from _budget(name, node.lab, guests)
            yield from _disks(name, node, node.lab.disk, guests)


def _cards(name: str, node: Node) -> Iterator[Finding]:
    """Cards are told apart by what they are: where a card is plugged in says nothing that stays true."""
    seen: dict[str, list[str]] = {}
    for card, value in node.gpus.items():
        for other in seen.get(value.id, []):
            board = node.gpus[other].subsystem
            if value.subsystem and board and value.subsystem != board:
                continue
            text = f"{value.id} is the id of {other} already: it can't tell the two apart"
            if value.subsystem != board or not board:
                text += "; give each of them its `subsystem:` (`lspci -nnv` on the node shows it)"
            yield Finding(("nodes", name, "gpus", card, "id"), text)
            break
        seen.setdefault(value.id, []).append(card)
    yield from _shared(name, node)


def _shared(name: str, node: Node) -> Iterator[Finding]:
    """One card in mode lxc: the driver numbers those that it has, and containers name theirs by that number."""
    shared = [card for card, value in node.gpus.items() if value.mode == "lxc"]
    for card in shared:
        if not node.gpus[card].id.startswith(NVIDIA):
            text = f"{node.gpus[card].id} is no NVIDIA card, and only those are shared among containers"
            yield Finding(("nodes", name, "gpus", card, "mode"), text)
        for other, value in node.gpus.items():
            if value.mode != "lxc" and value.id == node.gpus[card].id:
                text = f"{other} has the same id, by which a card is kept for VMs: pass both to VMs"
                yield Finding(("nodes", name, "gpus", card, "mode"), text)
    for card in shared[1:]:
        text = f"{shared[0]} is in mode lxc already, and a node shares one card: pass this one to a VM"
        yield Finding(("nodes", name, "gpus", card, "mode"), text)


def _made(name: str, node: Node) -> Iterator[Finding]:
    """Storages that are made: each disk once and whole, each under a name that ZFS takes."""
    seen: set[str] = set()
    pools: dict[str, StorageClass] = {}
    for key, storage in node.storage.items():
        if storage.create is None:
            continue
        place = ("nodes", name, "storage", key)
        first = pools.setdefault(storage.use, key)
        if first != key:
            text = f"{first} says already how {storage.use} is made; write `{{use: {storage.use}}}` alone here"
            yield Finding((*place, "create"), text, at_key=True)
            continue
        if storage.use == "local" or _TAKEN.match(storage.use):
            yield Finding((*place, "use"), f"a ZFS pool can't be called {storage.use}; call it tank, for example")
        for number, disk in enumerate(storage.create.mirror):
            if re.search(r"-part[0-9]+$", disk):
                text = f"{disk} is a partition: a storage is made of whole disks"
                yield Finding((*place, "create", "mirror", number), text)
            elif disk in seen:
                yield Finding((*place, "create", "mirror", number), f"disk {disk} is named twice")
            seen.add(disk)


def _budget(name: str, size: LabNode, guests: dict[str, GuestSpec]) -> Iterator[Finding]:
    memory = {guest: spec.memory for guest, spec in guests.items()}
    wanted = sum(memory.values())
    if wanted > size.memory:
        text = f"guests of {name} want {format_size(wanted)} and it has {format_size(size.memory)}"
        yield Finding(("nodes", name, "lab", "memory"), text + _over(wanted - size.memory, memory))
    for guest, spec in guests.items():
        if spec.cores > size.cores:
            text = f"{spec.cores} cores are more than node {name} has, {size.cores}"
            yield Finding(("guests", guest, "cores"), text)


def _disks(name: str, node: Node, sizes: Mapping[StorageClass, int], guests: dict[str, GuestSpec]) -> Iterator[Finding]:
    """Whether the guests' disks fit each storage; fast and bulk may be one."""
    seen: dict[str, StorageClass] = {}
    for key, size in sizes.items():
        place = ("nodes", name, "lab", "disk", key)
        if key not in node.storage:
            text = f'node {name} has no storage "{key}"{did_you_mean(key, node.storage)}'
            yield Finding(place, text, at_key=True)
            continue
        use = node.storage[key].use
        first = seen.setdefault(use, key)
        if first != key:
            if sizes[first] != size:
                both = f"{format_size(sizes[first])} here is {format_size(size)} there"
                yield Finding(place, f"{first} and {key} are both storage {use}, and it has one size: {both}")
            continue
        classes = [each for each, storage in node.storage.items() if storage.use == use]
        disks = {guest: spec.disk for guest, spec in guests.items() if spec.storage in classes}
        wanted = sum(disks.values())
        if wanted > size:
            text = f"disks on {use} want {format_size(wanted)} and node {name} has {format_size(size)} there"
            yield Finding(place, text + _over(wanted - size, disks))


def _over(excess: int, parts: Mapping[str, int]) -> str:
    """By how much it is too much, and who takes most."""
    largest = sorted(parts, key=lambda guest: -parts[guest])[:3]
    named = ", ".join(f"{guest} {format_size(parts[guest])}" for guest in largest)
    return f": over budget by {format_size(excess)}; the largest are {named}"
