"""Every place of hub.yml and stack.yml where a person writes a value or a name, as the models know them.

Made from the JSON Schemas, which are made from the models: a new key is covered without a word here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

from aihub.reading import document, schema

from tests.unit.aihub import cases

Path = tuple["str | int", ...]
ANY = "*"


@dataclass(frozen=True)
class Form:
    """A kind of file: what it may hold, and one that has a right value nearly everywhere."""

    name: str
    whole: str

    def schema(self) -> Any:
        return json.loads(schema.texts()[self.name])

    def data(self) -> Any:
        return deepcopy(document.read(cases.CASES / self.whole).data)

    def values(self) -> list[Path]:
        """The places of all values that are neither a list nor a mapping."""
        return list(_places(self, keys=False))

    def names(self) -> list[Path]:
        """The mappings whose keys are names of a person's choice."""
        return list(_places(self, keys=True))


@cache
def _places(form: Form, *, keys: bool) -> tuple[Path, ...]:
    root, data = form.schema(), form.data()
    found = {_concrete(place, data) for is_key, place in _walk(root, root, ()) if is_key == keys}
    return tuple(sorted(found, key=str))


HUB = Form(schema.HUB, "hub/valid/everything.yml")
STACK = Form(schema.STACK, "stack/valid/everything.yml")


def _walk(part: Any, root: Any, place: Path) -> Iterator[tuple[bool, Path]]:
    if "$ref" in part:
        part = root["$defs"][part["$ref"].rpartition("/")[2]]
    options = [*part.get("anyOf", ()), *part.get("oneOf", ())]
    for option in options:
        yield from _walk(option, root, place)
    if options or part.get("type") == "null":
        return
    if part.get("type") == "array":
        yield from _walk(part["items"], root, (*place, 0))
    elif part.get("type") != "object":
        yield False, place
    for key, value in part.get("properties", {}).items():
        yield from _walk(value, root, (*place, key))
    for value in (part.get("additionalProperties"), *part.get("patternProperties", {}).values()):
        if isinstance(value, dict):
            yield True, place
            yield from _walk(value, root, (*place, ANY))


def _concrete(place: Path, data: Any) -> Path:
    """The place with a name that the file has for each that is free to choose."""
    found: list[str | int] = []
    for step in place:
        free = next(iter(data)) if isinstance(data, dict) and data else "thing"
        found.append(free if step == ANY else step)
        try:
            data = data[found[-1]]
        except (KeyError, IndexError, TypeError):
            data = None
    return tuple(found)


def told(place: Path) -> Path:
    """The place as the loader tells it.

    One stack without brackets is a list of one, and its name is no step; a need in a list is told by its name.
    """
    if place[:1] == ("needs",) and place[-1] == 0 and len(place) == 4:
        return place[:3]
    if place[:1] != ("guests",) or place[2:3] != ("stacks",):
        return place
    inside = [step for step in place[3:] if step != 0]
    return (*place[:3], 0, *inside[1:]) if inside else place


def put(data: Any, place: Path, value: Any) -> None:
    """Writes a value to a place; what is missing on the way, or something else, is made."""
    for step, following in zip(place, [*place[1:], None], strict=True):
        if following is None:
            if isinstance(data, list):
                data[:] = [value]
            else:
                data[step] = value
            return
        kind = list if isinstance(following, int) else dict
        inner = data.get(step) if isinstance(data, dict) else next(iter(data), None)
        if not isinstance(inner, kind):
            inner = kind()
            put(data, (step,), inner)
        data = inner


def rename(data: Any, place: Path, name: str) -> None:
    """Gives the first entry of the mapping at a place another name."""
    for step in place:
        data = data[step]
    first = next(iter(data))
    entries = [(name if key == first else key, value) for key, value in data.items()]
    data.clear()
    data.update(entries)


def apart(places: list[Path]) -> Iterator[list[Path]]:
    """The places in as few groups as it takes that none in a group keeps another of it from being written."""
    left = list(places)
    while left:
        group: list[Path] = []
        for place in left:
            if not any(_clash(place, other) for other in group):
                group.append(place)
        left = [place for place in left if place not in group]
        yield group


def _clash(one: Path, other: Path) -> bool:
    """Whether one is inside the other, or a list and a mapping would stand at the same place."""
    for step, another in zip(one, other, strict=False):
        if step != another:
            return isinstance(step, int) != isinstance(another, int)
    return True
