"""Stacks on guests: where a stack may stand, and which stacks bear each other."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

from ..derive import node_of
from ..findings import Finding, Place
from ..hub import GuestSpec, HubFile
from ..resolved import MACHINE_MEMORY
from ..stack import Office, Stack
from ..types import format_size

SSH = 22


def check(file: HubFile, stacks: Mapping[str, Stack], declared: Mapping[str, set[str]]) -> Iterator[Finding]:
    """What is wrong with the stacks that guests run."""
    for name, spec in file.guests.items():
        seen: dict[str, Stack] = {}
        for index, placement in enumerate(spec.stacks):
            place = ("guests", name, "stacks", index)
            stack = stacks.get(placement.name)
            if placement.flavour and stack is not None and stack.office != "secrets":
                yield Finding(place, f'stack "{placement.name}" has no flavours: only the secret store does')
            if placement.name in seen:
                yield Finding(place, f'stack "{placement.name}" is on guest {name} already')
            elif stack is not None:
                yield from _may_stand(file, name, spec, stack, place)
                yield from _beside(name, stack, seen, place)
                seen[stack.name] = stack
        yield from _memory(name, spec, seen.values())
    yield from _whole(file, stacks)
    yield from _ids(file, stacks)
    yield from _doors(file, stacks)
    sound = len(file.guests) == len(declared.get("guests", ()))
    yield from _egress(file, stacks, sound=sound)
    yield from _vault(file, stacks, sound=sound)


def _ids(file: HubFile, stacks: Mapping[str, Stack]) -> Iterator[Finding]:
    """What an instance's data is called by is nobody else's, and that of its own stack."""
    owners: dict[str, str] = {}
    for name, spec in file.guests.items():
        for index, placement in enumerate(spec.stacks):
            found = placement.id or f"{placement.name}@{spec.id or name}"
            place = ("guests", name, "stacks", index, "id") if placement.id else ("guests", name, "stacks", index)
            if not found.startswith(f"{placement.name}@"):
                yield Finding(place, f'id "{found}" is of another stack than {placement.name}')
            elif found in owners and owners[found] != f"{placement.name}@{name}":
                yield Finding(place, f'id "{found}" is the one of {owners[found]} already')
            owners.setdefault(found, f"{placement.name}@{name}")
            stack = stacks.get(placement.name)
            if stack and stack.office == "secrets" and (placement.id or spec.id not in (None, name)):
                text = (
                    "the secret store's guest keeps its first name: its certificate comes from a kit that is put away"
                )
                yield Finding(place, text)


def _memory(name: str, spec: GuestSpec, stacks: Iterable[Stack]) -> Iterator[Finding]:
    """What the stacks of a guest need at least must fit beside its system."""
    parts = {stack.name: stack.memory for stack in stacks}
    wanted = MACHINE_MEMORY + sum(parts.values())
    if parts and wanted > spec.memory:
        each = ", ".join(f"{stack} {format_size(size)}" for stack, size in parts.items())
        text = (
            f"guest {name} has {format_size(spec.memory)}, and needs {format_size(wanted)} at least: "
            f"{each}, and {format_size(MACHINE_MEMORY)} for itself"
        )
        yield Finding(("guests", name, "memory"), text)


def _may_stand(file: HubFile, name: str, spec: GuestSpec, stack: Stack, place: Place) -> Iterator[Finding]:
    if spec.zone not in stack.zones:
        allowed = " or ".join(stack.zones)
        text = f'stack "{stack.name}" may stand in zone {allowed} only, and guest {name} is in {spec.zone}'
        yield Finding(place, text)
    zone = file.zones.get(spec.zone)
    if stack.office == "egress" and zone is not None and zone.internet == "none":
        text = f'stack "{stack.name}" is the way out for others and needs a zone with `internet: outbound`'
        yield Finding(place, text)


def _beside(name: str, stack: Stack, seen: Mapping[str, Stack], place: Place) -> Iterator[Finding]:
    for port, key in _ports(stack).items():
        if port == SSH:
            yield Finding(place, f"{stack.name}'s {key} takes port {SSH}, which is the guest's own ssh")
        for other in seen.values():
            if port in (theirs := _ports(other)):
                both = f"{stack.name}'s {key} and {other.name}'s {theirs[port]}"
                yield Finding(place, f"{both} both take port {port} of guest {name}")
    for other in seen.values():
        needs = {stack.gpu.need, other.gpu.need}
        if "whole" in needs and "none" not in needs:
            text = f"{stack.name} and {other.name} can't share the card of guest {name}: one needs it whole"
            yield Finding(place, text)


def _whole(file: HubFile, stacks: Mapping[str, Stack]) -> Iterator[Finding]:
    """A card that guests share is nobody's alone: who needs it whole has no other beside him, on any guest."""
    users: dict[tuple[str | None, str], list[tuple[str, Stack]]] = {}
    for name, spec in file.guests.items():
        for index, placement in enumerate(spec.stacks if spec.gpu else ()):
            stack = stacks.get(placement.name)
            if stack is None or stack.gpu.need == "none":
                continue
            others = users.setdefault((node_of(file, spec), str(spec.gpu)), [])
            for guest, other in others:
                if guest != name and "whole" in (stack.gpu.need, other.gpu.need):
                    text = f"{stack.name}@{name} and {other.name}@{guest} can't share card {spec.gpu}"
                    yield Finding(("guests", name, "stacks", index), f"{text}: one needs it whole")
            others.append((name, stack))


def _ports(stack: Stack) -> dict[int, str]:
    """The ports that a stack takes of its guest, in the network or behind its door, and the entry that says so."""
    found: dict[int, str] = {}
    for key, port in stack.gives.items():
        found.setdefault(port.port, key)
        if port.inside:
            found.setdefault(port.inside, f"{key} (inside)")
    return found


def _doors(file: HubFile, stacks: Mapping[str, Stack]) -> Iterator[Finding]:
    """A port of doors leads to one stack, whatever the guest."""
    owners: dict[int, tuple[str, str]] = {}
    for guest, spec in file.guests.items():
        for index, placement in enumerate(spec.stacks):
            stack = stacks.get(placement.name)
            if stack is None or stack.http is None:
                continue
            port = stack.http.port
            first, where = owners.setdefault(port, (stack.name, guest))
            if first != stack.name and where != guest:
                both = f"{stack.name}@{guest} and {first}@{where} both answer HTTP on port {port}"
                yield Finding(("guests", guest, "stacks", index), f"{both}: each stack of a hub needs its own")


def _places(file: HubFile, wanted: Container[str]) -> list[tuple[str, int]]:
    """The guest and the position in its list of each placement of some stacks."""
    return [
        (guest, index)
        for guest, spec in file.guests.items()
        for index, placement in enumerate(spec.stacks)
        if placement.name in wanted
    ]


def _vault(file: HubFile, stacks: Mapping[str, Stack], *, sound: bool) -> Iterator[Finding]:
    vaults = _holders(file, stacks, "secrets")
    for guest, index in vaults[1:]:
        text = f"a hub has one secret store, and it is on guest {vaults[0][0]} already"
        yield Finding(("guests", guest, "stacks", index), text)
    served = [name for name, stack in stacks.items() if stack.needs_store]
    needing = _places(file, served)
    if vaults or not needing or not sound:
        return
    guest, index = needing[0]
    others = f" (so do {len(needing) - 1} more)" if len(needing) > 1 else ""
    text = (
        f"{file.guests[guest].stacks[index].name}@{guest} needs secrets or a certificate{others}, and no guest runs "
        "a secret store: add a stack with `office: secrets`, like vault, to a guest of zone infra"
    )
    yield Finding(("guests", guest, "stacks", index), text)


def _holders(file: HubFile, stacks: Mapping[str, Stack], office: Office) -> list[tuple[str, int]]:
    """The placements of the stacks that have an office."""
    return _places(file, {name for name, stack in stacks.items() if stack.office == office})


def _egress(file: HubFile, stacks: Mapping[str, Stack], *, sound: bool) -> Iterator[Finding]:
    places = _holders(file, stacks, "egress")
    for guest, index in places[1:]:
        text = f"a hub has one way out, and it is on guest {places[0][0]} already"
        yield Finding(("guests", guest, "stacks", index), text)
    if places or not sound:
        return
    for zone, value in file.zones.items():
        inside = [name for name, spec in file.guests.items() if spec.zone == zone]
        if value.internet == "none" and inside:
            text = (
                f"{inside[0]} needs packages and images, and no guest runs a way out: add a stack with "
                "`office: egress` to a guest of a zone with `internet: outbound`"
            )
            yield Finding(("zones", zone, "internet"), text)
