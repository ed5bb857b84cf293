"""Who serves whom: finds every instance's providers and the order in which instances start."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import replace

from .findings import Finding
from .hub import HubFile
from .resolved import VAULT, Guest, Instance
from .stack import Stack

Where = Mapping[str, tuple[str | int, ...]]


def placed(file: HubFile, guests: Mapping[str, Guest], stacks: Mapping[str, Stack]) -> tuple[list[Instance], Where]:
    """Every instance in hub.yml's order, and where hub.yml says so."""
    found: list[Instance] = []
    where: dict[str, tuple[str | int, ...]] = {}
    for guest, spec in file.guests.items():
        for index, placement in enumerate(spec.stacks):
            if guest not in guests or placement.name not in stacks:
                continue
            options = placement.model_dump(exclude={"name"})
            instance = Instance(stack=stacks[placement.name], guest=guests[guest], options=options)
            found.append(instance)
            where[instance.name] = ("guests", guest, "stacks", index)
    return found, where


def needed(stack: Stack) -> tuple[str, ...]:
    """The stacks that a stack needs, each once."""
    return tuple(dict.fromkeys([*stack.logins, *stack.needs.stacks]))


def wire(instances: Iterable[Instance], where: Where) -> tuple[list[Instance], list[Finding]]:
    """The instances with their providers, in start order, or what keeps them from being served."""
    every = list(instances)
    serving: dict[str, list[Instance]] = {}
    for instance in every:
        serving.setdefault(instance.stack.name, []).append(instance)
    findings: list[Finding] = []
    wired: list[Instance] = []
    for instance in every:
        providers: dict[str, str] = {}
        for name in needed(instance.stack):
            found = _nearest(instance, serving.get(name, []))
            if len(found) == 1:
                providers[name] = found[0].name
            else:
                findings.append(Finding(where[instance.name], _unserved(instance, name, found)))
        wired.append(replace(instance, providers=providers))
    ordered, cycle = _ordered(wired)
    if cycle:
        text = " -> ".join([*cycle, cycle[0]])
        findings.append(Finding(where[cycle[0]], f"dependency cycle: {text}; none of them could start first"))
    return ordered, findings


def _nearest(instance: Instance, serving: list[Instance]) -> list[Instance]:
    """The candidates on the same guest, else in the same zone, else in infra."""
    guest = instance.guest
    for near in (
        [i for i in serving if i.guest.name == guest.name],
        [i for i in serving if i.guest.zone == guest.zone],
        [i for i in serving if i.guest.zone == "infra"],
    ):
        if near:
            return near
    return []


def _unserved(instance: Instance, name: str, found: list[Instance]) -> str:
    if not found:
        zone = instance.guest.zone
        places = "infra" if zone == "infra" else f"{zone} or infra"
        return f"{instance.name} needs {name}, and no guest of {places} runs it: add {name} to one"
    names = " and ".join(i.name for i in found)
    return f"{instance.name} needs {name}, and {names} are equally near: put one on its guest or remove one"


def _ordered(instances: list[Instance]) -> tuple[list[Instance], list[str]]:
    """Providers before consumers, start_first before all others, then the vault, else hub.yml's order; any cycle."""
    index = {instance.name: number for number, instance in enumerate(instances)}
    waiting = {i.name: set(i.providers.values()) & index.keys() for i in instances}
    users: dict[str, list[str]] = {}
    for name, providers in waiting.items():
        for provider in providers:
            users.setdefault(provider, []).append(name)
    ready = [_rank(instances[index[name]], index) for name, providers in waiting.items() if not providers]
    heapq.heapify(ready)
    order: list[Instance] = []
    while ready:
        instance = instances[heapq.heappop(ready)[1]]
        order.append(instance)
        for name in users.get(instance.name, ()):
            waiting[name].discard(instance.name)
            if not waiting[name]:
                heapq.heappush(ready, _rank(instances[index[name]], index))
    done = {i.name for i in order}
    return order, _cycle({name: providers for name, providers in waiting.items() if name not in done})


def _rank(instance: Instance, index: Mapping[str, int]) -> tuple[int, int]:
    first = 0 if instance.stack.start_first else 1 if instance.stack.name == VAULT else 2
    return (first, index[instance.name])


def _cycle(waiting: Mapping[str, set[str]]) -> list[str]:
    """One cycle among instances that all wait for another of them."""
    if not waiting:
        return []
    path: list[str] = []
    name = next(iter(waiting))
    while name not in path:
        path.append(name)
        name = min(provider for provider in waiting[name] if provider in waiting)
    return path[path.index(name) :]
