"""Routes of language models: what answers in a model's place, and what shares a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..findings import Finding, Place, did_you_mean
from ..hub import HubFile
from ..stack import MODELS, Stack


def check(file: HubFile, stacks: Mapping[str, Stack], declared: Mapping[str, set[str]]) -> Iterator[Finding]:
    """What is wrong with `fallback` of models and with `routes`."""
    known = declared.get("models", set()) | set(file.models)
    zones = {str(spec.zone) for spec in file.guests.values() if _routing(stacks, [one.name for one in spec.stacks])}
    for name, model in file.models.items():
        for index, other in enumerate(model.fallback):
            place: Place = ("models", name, "fallback", index)
            if other == name:
                yield Finding(place, "a model does not stand in for itself")
            elif other in model.fallback[:index]:
                yield Finding(place, f"{other} is in the list already")
            else:
                yield from _unlike(file, known, place, name, other)
        if model.fallback:
            yield from _unserved(file, zones, ("models", name, "fallback"), name)
    for route, shares in file.routes.items():
        first = next(iter(shares))
        if route in known:
            yield Finding(("routes", route), f"models has {route} already: take another name", at_key=True)
        for other in shares:
            yield from _unlike(file, known, ("routes", route, other), first, other)
        yield from _unserved(file, zones, ("routes", route), first)


def _routing(stacks: Mapping[str, Stack], names: Sequence[str]) -> bool:
    """Whether one of these stacks is a gateway that acts on routes, or may be one: it has mistakes of its own."""
    return any(name not in stacks or any(one.routes for one in stacks[name].gives.values()) for name in names)


def _unlike(file: HubFile, known: set[str], place: Place, name: str, other: str) -> Iterator[Finding]:
    """Why a model can't answer in place of another; the first reason."""
    if other not in file.models:
        if other not in known:
            yield _at(place, f'models has no "{other}"{did_you_mean(other, file.models)}')
        return
    if name not in file.models or name == other:
        return
    ours, theirs = file.models[name], file.models[other]
    if ours.use != theirs.use:
        yield _at(place, f"{other} is for {theirs.use}, and {name} for {ours.use}")
    elif ours.use == "embedding" and ours.weights != theirs.weights:
        yield _at(place, f"{other} has other weights than {name}: what one embeds, the other does not find again")
    elif (here := _zone(file, name)) and (there := _zone(file, other)) and here != there:
        yield _at(place, f"{other} is in zone {there}, and {name} in {here}: a gateway asks its own only")


def _unserved(file: HubFile, zones: set[str], place: Place, name: str) -> Iterator[Finding]:
    """A zone without a gateway, where nothing would act on it."""
    zone = _zone(file, name)
    if zone and zone not in zones:
        yield _at(place, f"zone {zone} has no gateway that acts on it: add one to a guest there, or remove it")


def _at(place: Place, text: str) -> Finding:
    """At the name: of a route that is a key, of a fallback a value."""
    return Finding(place, text, at_key=place[0] == "routes")


def _zone(file: HubFile, name: str) -> str | None:
    """The zone of a model's guest; None where that is not known."""
    model = file.models.get(name)
    spec = file.guests.get(model.guest) if model else None
    return str(spec.zone) if spec else None


def check_offers(stack: Stack) -> Iterator[Finding]:
    """Only who knows the engines of its zone can route between them."""
    for kind, offer in stack.gives.items():
        if offer.routes and MODELS not in stack.needs.every:
            text = f"who acts on routes needs the engines: add `every: [{MODELS}]` to needs, or remove `routes`"
            yield Finding(("gives", kind, "routes"), text, at_key=True)
