"""Edits hub.yml where a person would, and leaves every other character as it is: renames guests, moves instances.

What bears data is called by an id, at first the name. An edit here writes the id down before the name changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aihub.errors import InvalidInput
from aihub.model.target import Word

from . import document, load, textfile
from .document import Node

_PLACEMENTS = "stacks"


@dataclass(frozen=True, order=True)
class _Patch:
    """So many characters at a place give way to a text."""

    start: int
    length: int
    text: str


class _File:
    """hub.yml as text with places, and what is to be changed in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = document.read(path).root
        self.text = textfile.read(path)
        self._lines = [0]
        for line in self.text.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._patches: list[_Patch] = []

    def guests(self) -> Node:
        """The mapping of all guests. Raises InvalidInput where there is none."""
        found = self.root.children.get("guests")
        if found is None or not found.keys:
            raise InvalidInput("there are no guests", where=str(self.path))
        return found

    def at(self, line: int, column: int) -> int:
        """The place in the text."""
        return self._lines[line - 1] + column - 1

    def replace(self, place: int, old: str, new: str) -> None:
        """A plain or quoted word gives way to another."""
        found = re.compile(rf"(['\"]?){re.escape(old)}\1").match(self.text, place)
        if found is None:
            raise self.unclear(place)
        self._patches.append(_Patch(place, len(found[0]), f"{found[1]}{new}{found[1]}"))

    def cut(self, start: int, end: int, text: str = "") -> None:
        """What stands from here to there gives way to a text."""
        self._patches.append(_Patch(start, end - start, text))

    def set_first(self, node: Node, key: str, value: str) -> None:
        """A key that a mapping does not have becomes its first."""
        place = self.at(node.line, node.column)
        if self.text[place] == "{":
            self.cut(place + 1, place + 1, f"{key}: {value}, ")
            return
        line, column = min(node.keys.values())
        if self.text[self._lines[line - 1] : self.at(line, column)].strip():
            raise self.unclear(place)
        self.cut(self.at(line, column), self.at(line, column), f"{key}: {value}\n{' ' * (column - 1)}")

    def unclear(self, place: int) -> InvalidInput:
        """The refusal of what can't be edited without a guess."""
        line = self.text.count("\n", 0, place) + 1
        return InvalidInput("is written in a way that aihub does not edit: do it by hand", where=f"{self.path}:{line}")

    def save(self, target: Word) -> None:
        """Puts the edited text in place of the old, in one step. Raises InvalidInput when it would be wrong."""
        text = self.text
        for patch in sorted(self._patches, reverse=True):
            text = text[: patch.start] + patch.text + text[patch.start + patch.length :]
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            new.write_text(text)
            new.chmod(self.path.stat().st_mode & 0o7777)
            load.load(new, target=target)
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)


def rename(path: Path, old: str, new: str, *, target: Word) -> None:
    """Calls a guest otherwise, wherever the file does; what bears its data keeps the old name as its id.

    The name may be changed in the file already; then only the id is missing. Raises InvalidInput.
    """
    file = _File(path)
    guests = file.guests()
    if old in guests.keys and new in guests.keys:
        raise InvalidInput(f"{old} and {new} are two guests", where=str(path))
    if old not in guests.keys and new not in guests.keys:
        raise InvalidInput(f"there is no guest {old}", where=str(path), hint="aihub status names them")
    present = old if old in guests.keys else new
    if present == old:
        file.replace(file.at(*guests.keys[old]), old, new)
    if "id" not in guests.children[present].keys:
        file.set_first(guests.children[present], "id", old)
    for node in _references(file.root):
        if node.value == old:
            file.replace(file.at(node.line, node.column), old, new)
    file.save(target)


def move(path: Path, instance: str, guest: str, *, target: Word) -> None:
    """Puts an instance on another guest; what bears its data keeps its id.

    It may stand there in the file already; then only the id is missing. Raises InvalidInput.
    """
    hub = load.load(path, target=target)
    stack, _, old = instance.partition("@")
    found = next((one for one in hub.instances if one.name == instance), None)
    there = next((one for one in hub.on(guest) if one.stack.name == stack), None)
    if found is None and (there is None or there.options.get("id")):
        raise InvalidInput(f"there is no instance {instance}", where=str(path), hint="aihub status names them")
    if guest not in hub.guests:
        raise InvalidInput(f"there is no guest {guest}", where=str(path), hint="aihub status names them")
    if found is not None and there is not None:
        raise InvalidInput(f"{guest} has {stack} already: a guest has a stack once", where=str(path))
    file = _File(path)
    known = found.id if found else f"{stack}@{hub.guests[old].id if old in hub.guests else old}"
    if found is None:
        place = _item(file, guest, stack)
        file.cut(*place, _placement(stack, known, _options(file, place, stack)))
    else:
        _put(file, guest, _placement(stack, known, _taken(file, old, stack)))
    file.save(target)


def _placement(stack: str, known: str, options: str) -> str:
    """A placement with an id, as it is written."""
    if not re.search(r"\bid\s*:", options):
        options = f"id: {known}" + (f", {options}" if options else "")
    return f"{{{stack}: {{{options}}}}}"


def _references(root: Node) -> Iterator[Node]:
    """Every place where the file speaks of a guest."""
    for model in _children(root, "models"):
        if "guest" in model.children:
            yield model.children["guest"]
    for guest in _children(root, "guests"):
        for placement in _children(guest, _PLACEMENTS):
            for options in (placement, *placement.children.values()):
                yield from _children(options, "use")


def _children(node: Node, key: str) -> Iterator[Node]:
    if key in node.children:
        yield from node.children[key].children.values()


def _items(file: _File, guest: str) -> list[tuple[str, int, int]]:
    """The placements of a guest's list: the stack, and from where to where it stands."""
    node = file.guests().children[guest].children[_PLACEMENTS]
    place = file.at(node.line, node.column)
    if file.text[place] != "[":
        raise file.unclear(place)
    starts = [(_called(child), file.at(child.line, child.column)) for child in node.children.values()]
    return [(stack, start, _end(file, start)) for stack, start in starts]


def _item(file: _File, guest: str, stack: str) -> tuple[int, int]:
    """From where to where a placement stands."""
    return next((start, end) for name, start, end in _items(file, guest) if name == stack)


def _options(file: _File, place: tuple[int, int], stack: str) -> str:
    """The options of a placement as they were written, without their braces."""
    written = file.text[slice(*place)].strip()
    found = re.fullmatch(r"\{\s*[^:{}]+:\s*(?:\{(.*)\})?\s*\}", written, re.DOTALL)
    if found is None and written.strip("'\"") != stack:
        raise file.unclear(place[0])
    return (found[1] or "").strip() if found else ""


def _taken(file: _File, guest: str, stack: str) -> str:
    """Takes a placement out of a guest's list, with its comma; gives its options."""
    items = _items(file, guest)
    index = next(i for i, (name, _, _) in enumerate(items) if name == stack)
    _, start, end = items[index]
    if index + 1 < len(items):
        file.cut(start, items[index + 1][1])
    else:
        file.cut(items[index - 1][2] if index else start, end)
    return _options(file, (start, end), stack)


def _put(file: _File, guest: str, placement: str) -> None:
    """Adds a placement to a guest's list."""
    spec = file.guests().children[guest]
    node = spec.children.get(_PLACEMENTS)
    if node is None:
        file.set_first(spec, _PLACEMENTS, f"[{placement}]")
        return
    place = file.at(node.line, node.column)
    if file.text[place] == "[":
        file.cut(place + 1, place + 1, f"{placement}, " if node.children else placement)
    elif isinstance(node.value, str):
        file.replace(place, node.value, f"[{node.value}, {placement}]")
    else:
        raise file.unclear(place)


def _called(node: Node) -> str:
    """The stack that a placement is of."""
    value = node.value
    return value if isinstance(value, str) else str(value.get("name") or next(iter(value)))


def _end(file: _File, start: int) -> int:
    """Where an item of a list in brackets ends: before its comma or the closing bracket, without spaces."""
    depth, quote, place = 0, "", start
    while place < len(file.text):
        letter = file.text[place]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}" and depth:
            depth -= 1
        elif letter in ",]" and not depth:
            return len(file.text[:place].rstrip())
        elif letter == "#":
            raise file.unclear(place)
        place += 1
    raise file.unclear(start)
