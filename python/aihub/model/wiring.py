"""Who serves whom: finds every instance's providers and the order in which instances start."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from .findings import Finding, Place, did_you_mean
from .hub import HubFile
from .resolved import Guest, Instance
from .stack import Stack

Givers = Callable[[str], Sequence[str]]
_FAR = 3
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
    """The kinds that a stack needs, each once."""
    return tuple(dict.fromkeys([*stack.needs.start, *stack.needs.later]))


def wire(instances: Iterable[Instance], where: Where, givers: Givers) -> tuple[list[Instance], list[Finding]]:
    """The instances with their providers, in start order, or what keeps them from being served.

    `givers` names the stacks that could give a kind.
    """
    everybody = list(instances)
    serving: dict[str, list[Instance]] = {}
    for instance in everybody:
        for kind in instance.stack.gives:
            serving.setdefault(kind, []).append(instance)
    findings: list[Finding] = []
    wired: list[Instance] = []
    for unchosen in everybody:
        instance, unmet = _choose(unchosen, serving, givers)
        findings += (Finding(where[instance.name], text) for text in unmet)
        providers: dict[str, str] = {}
        for kind in needed(instance.stack):
            pinned = _pinned(instance, kind)
            found = _nearest(instance, serving.get(kind, []), pinned)
            if len(found) == 1:
                providers[kind] = found[0].name
                findings += _unknown_options(instance, found[0], kind, where[instance.name])
            elif pinned:
                text = f"{instance.name} is to use {kind} of {pinned}, and nothing on that guest gives it"
                findings.append(Finding((*where[instance.name], "use", kind), text))
            else:
                findings.append(Finding(where[instance.name], _unserved(instance, kind, found, givers(kind))))
        findings += _unused(instance, where[instance.name])
        every = {kind: _around(instance, serving.get(kind, [])) for kind in instance.stack.needs.every}
        for kind, found in every.items():
            findings += _not_for_all(instance, kind, found, where[instance.name])
        names = {kind: tuple(one.name for one in found) for kind, found in every.items()}
        wired.append(replace(instance, providers=providers, every=names))
    ordered, cycle = _ordered(wired)
    if cycle:
        text = " -> ".join([*cycle, cycle[0]])
        findings.append(Finding(where[cycle[0]], f"dependency cycle: {text}; none of them could start first"))
    return ordered, findings


def _choose(instance: Instance, serving: Mapping[str, list[Instance]], givers: Givers) -> tuple[Instance, list[str]]:
    """The instance with the nearest kind of each name in `one_of`; and what is said where there is not one nearest."""
    chosen: dict[str, str] = {}
    unmet: list[str] = []
    for key, kinds in instance.stack.needs.one_of.items():
        pinned = {kind: guest for kind in kinds if (guest := _pinned(instance, kind))}
        found = {
            kind: near[0]
            for kind in pinned or kinds
            if (near := _nearest(instance, serving.get(kind, []), pinned.get(kind, "")))
        }
        nearest = min((_distance(instance, one) for one in found.values()), default=0)
        there = [kind for kind, one in found.items() if _distance(instance, one) == nearest]
        if len(there) == 1:
            chosen[key] = there[0]
        elif there:
            names = " and ".join(found[kind].name for kind in there)
            unmet.append(
                f"{instance.name} needs {' or '.join(kinds)} as {key}, and {names} are equally near: "
                f"choose one with `use: {{{there[0]}: {found[there[0]].guest.name}}}`"
            )
        else:
            known = sorted({giver for kind in kinds for giver in givers(kind)})
            unmet.append(_unserved(instance, " or ".join(kinds), [], known))
    return replace(instance, stack=instance.stack.using(chosen)), unmet


def _distance(instance: Instance, other: Instance) -> int:
    """0 on its guest, 1 in its zone, 2 in infra; what is farther serves only who names it."""
    if other.guest.name == instance.guest.name:
        return 0
    return {instance.guest.zone: 1}.get(other.guest.zone, 2 if other.guest.zone == "infra" else _FAR)


def _pinned(instance: Instance, kind: str) -> str:
    """The guest that hub.yml names for a kind; empty where it leaves it open."""
    use = instance.options.get("use")
    return str(use.get(kind, "")) if isinstance(use, Mapping) else ""


def _unused(instance: Instance, place: Place) -> Iterator[Finding]:
    use = instance.options.get("use")
    for kind in use if isinstance(use, Mapping) else ():
        if kind not in needed(instance.stack) and kind not in {need.kind for need in instance.stack.possible}:
            yield Finding((*place, "use", kind), f"{instance.name} does not need {kind}: remove this", at_key=True)


def _nearest(instance: Instance, serving: list[Instance], pinned: str) -> list[Instance]:
    """The candidates on the named guest, or else on the same one, else in the same zone, else in infra."""
    if pinned:
        return [one for one in serving if one.guest.name == pinned]
    least = min((_distance(instance, one) for one in serving), default=_FAR)
    return [one for one in serving if _distance(instance, one) == least] if least < _FAR else []


def _around(instance: Instance, serving: list[Instance]) -> list[Instance]:
    """All in its zone, in hub.yml's order."""
    return [one for one in serving if one.guest.zone == instance.guest.zone]


def _not_for_all(instance: Instance, kind: str, found: list[Instance], place: Place) -> Iterator[Finding]:
    for one in found:
        if one.stack.gives[kind].strategy:
            text = f"{instance.name} uses all {kind} of its zone, and {one.name} wants a login: it has none for all"
            yield Finding(place, text)


def _unserved(instance: Instance, kind: str, found: list[Instance], known: Sequence[str]) -> str:
    if not found:
        zone = instance.guest.zone
        places = "infra" if zone == "infra" else f"{zone} or infra"
        added = f"add {' or '.join(known)} to one" if known else f"no stack gives {kind}"
        return f"{instance.name} needs {kind}, and nothing on a guest of {places} gives it: {added}"
    names = " and ".join(i.name for i in found)
    return f"{instance.name} needs {kind}, and {names} are equally near: choose one with `use: {{{kind}: GUEST}}`"


def _unknown_options(instance: Instance, provider: Instance, kind: str, place: Place) -> Iterator[Finding]:
    known = provider.stack.gives[kind].options
    for need in instance.stack.wants:
        for option in need.options:
            if need.kind == kind and option not in known:
                text = (
                    f'{provider.name} knows no option "{option}" of {kind}, which {instance.name} needs as {need.key}'
                )
                yield Finding(place, f"{text}{did_you_mean(option, known)}")


def _ordered(instances: list[Instance]) -> tuple[list[Instance], list[str]]:
    """Providers before consumers, the way out before all others, then the vault, else hub.yml's order; any cycle."""
    index = {instance.name: number for number, instance in enumerate(instances)}
    waiting = {i.name: set(i.started_after) & index.keys() for i in instances}
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
    return ({"egress": 0, "secrets": 1, None: 2}[instance.stack.office], index[instance.name])


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
