"""Reads one YAML file into plain data that remembers its positions; the only user of ruamel.yaml.

`load` builds on it. The rules are YAML 1.2's, narrowed: what two YAML readers may understand differently is
refused, so that nothing a person wrote turns silently into something else.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from aihub.errors import InvalidInput, Problem

from . import textfile
from .textfile import UNSEEN

MAX_DEPTH = 16
MAX_NODES = 100_000

_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None, "~": None, "": None}
_TRAPS = (
    (re.compile(r"(?i:yes|no|on|off|y|n)|True|TRUE|False|FALSE"), "a truth value in some YAML readers only"),
    (re.compile(r"Null|NULL"), "nothing in some YAML readers only"),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"), "a number to base 60 in some YAML readers"),
    (re.compile(r"[-+]?0[0-9_]+"), "octal in some YAML readers and decimal in others"),
    (re.compile(r"[-+]?0[box][0-9a-fA-F_]+"), "a number in another base"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"), "a date in some YAML readers"),
    (re.compile(r"[-+]?\.(?i:inf|nan)"), "not a number that can be counted with"),
    (
        re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*)([eE][-+]?[0-9]+)?"),
        "a number that is not whole or not plain",
    ),
    (re.compile(r"=|<<"), "a key with a meaning of its own in some YAML readers"),
)

Path_ = tuple["str | int", ...]


@dataclass(slots=True)
class Node:
    """A value with the place where it stands; mappings know their keys' places too."""

    value: Any
    line: int
    column: int
    children: dict[str | int, Node] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    size: int = 1


@dataclass(frozen=True)
class Document:
    """A file's data and the places of its parts, and what is wrong with its YAML alone."""

    file: str
    root: Node
    problems: tuple[Problem, ...] = ()

    @property
    def data(self) -> Any:
        return self.root.value

    def problem(self, path: Path_, message: str, *, at_key: bool = False) -> Problem:
        """A problem at the place of `path`, or of the nearest part above it that the file has."""
        node, place = self.root, (self.root.line, self.root.column)
        for index, step in enumerate(path):
            child = node.children.get(step)
            if child is None:
                # `- app: {replicas: 1}` is read as {name: app, replicas: 1}: look one level deeper.
                only = next(iter(node.children.values())) if len(node.children) == 1 else None
                if only is None or step not in only.children:
                    break
                node, child = only, only.children[step]
            key_wanted = at_key and index == len(path) - 1 and isinstance(step, str)
            place = node.keys.get(str(step), place) if key_wanted else (child.line, child.column)
            node = child
        return Problem(self.file, *place, show_path(path), message)


def show_path(path: Path_) -> str:
    """`guests.db.stacks[0]`."""
    text = ""
    for step in path:
        word = step if isinstance(step, int) or _PLAIN.fullmatch(step) else json.dumps(step)[:60]
        text += f"[{word}]" if isinstance(step, int) else f".{word}" if text else str(word)
    return text


def read(path: Path, *, name: str = "") -> Document:
    """The file's document. Raises InvalidInput with the place of what is wrong."""
    found = parse(path, name=name)
    if found.problems:
        raise InvalidInput(list(found.problems))
    return found


def parse(path: Path, *, name: str = "") -> Document:
    """As `read`, but raises only where nobody could go on: the rest of the file is to be judged too."""
    shown = name or str(path)
    found: Document = pickle.loads(_packed(shown, textfile.read(path, name=shown)))  # noqa: S301  (packed below)
    return found


@lru_cache(maxsize=256)
def _packed(file: str, text: str) -> bytes:
    """The document of a text, read once: a run asks for its stacks' files many times, and may change what it gets."""
    return pickle.dumps(_Reader(file).read(text))


class _Reader:
    """Builds nodes from parse events: depth, size and ambiguity are judged before anything is built."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.whole = True  # False: a part of the file is left out, and others would seem to be missing
        self.anchors: dict[str, Node] = {}
        self.nodes = 0

    def read(self, text: str) -> Document:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        try:
            root = self._document(YAML(typ="safe", pure=True).parse(text))
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            raise InvalidInput([*self.problems, Problem(self.file, line, column, "", _syntax(error))]) from error
        except (YAMLError, ValueError, RecursionError) as error:
            message = f"is not YAML: {error}"[:300]
            raise InvalidInput([*self.problems, Problem(self.file, 1, 1, "", message)]) from error
        if not self.whole:
            raise InvalidInput(sorted(self.problems))
        return Document(self.file, root, tuple(sorted(self.problems)))

    def _document(self, events: Iterator[Any]) -> Node:
        root: Node | None = None
        for event in events:
            kind = type(event).__name__
            if kind in ("StreamStartEvent", "StreamEndEvent", "DocumentEndEvent"):
                continue
            if kind == "DocumentStartEvent":
                if root is not None:
                    self._stop(event, "a second document starts here: one file holds one document")
                if event.version or event.tags:
                    self._stop(event, "directives like %YAML and %TAG have no place here: remove the line")
                continue
            root = self._node(event, events, 1)
        if root is None:
            raise InvalidInput([Problem(self.file, 1, 1, "", "is empty")])
        return root

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        kind = type(event).__name__
        if kind == "AliasEvent":
            node = self._alias(event)
            self._count(event, node.size)
            return node
        self._count(event, 1)
        if depth > MAX_DEPTH:
            self._stop(event, f"is nested deeper than {MAX_DEPTH} levels")
        if event.tag is not None:
            self._note(event, f"the tag {str(event.tag)[:40]!r} has no meaning here: remove it")
        node = Node(None, event.start_mark.line + 1, event.start_mark.column + 1)
        if kind == "ScalarEvent":
            node.value = self._scalar(event)
        elif kind == "SequenceStartEvent":
            self._sequence(node, events, depth)
        else:
            self._mapping(node, events, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _sequence(self, node: Node, events: Iterator[Any], depth: int) -> None:
        node.value = []
        for event in events:
            if type(event).__name__ == "SequenceEndEvent":
                return
            child = self._node(event, events, depth + 1)
            node.children[len(node.value)] = child
            node.value.append(child.value)
            node.size += child.size

    def _mapping(self, node: Node, events: Iterator[Any], depth: int) -> None:
        node.value = {}
        for event in events:
            if type(event).__name__ == "MappingEndEvent":
                return
            key = self._key(event, events, depth, node)
            child = self._node(next(events), events, depth + 1)
            if child.value is None and key is not None:
                # A value left out has no place of its own that a person could see.
                child.line, child.column = node.keys[key]
            node.size += 1 + child.size
            if key is not None:
                node.children[key] = child
                node.value[key] = child.value

    def _key(self, event: Any, events: Iterator[Any], depth: int, node: Node) -> str | None:
        if type(event).__name__ == "ScalarEvent" and event.value == "<<" and event.style is None:
            self._count(event, 1)
            self._note(event, "merge keys are not part of YAML 1.2: write the keys out")
            self.whole = False
            return None
        key = self._node(event, events, depth + 1)
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        if not isinstance(key.value, str):
            shown = event.value if type(event).__name__ == "ScalarEvent" else "this"
            self._note(event, f"a key is text: put quotes around {str(shown)[:40]!r}")
            self.whole = False
            return None
        if key.value in node.keys:
            line, column = node.keys[key.value]
            shown = json.dumps(key.value[:40])
            self._note(event, f"duplicate key {shown}: line {line}, column {column} has it already")
            return None
        node.keys[key.value] = place
        return key.value

    def _scalar(self, event: Any) -> object:
        text: str = event.value
        if event.style is not None or event.tag is not None:
            if found := UNSEEN.search(text):
                self._note(event, f"character U+{ord(found[0]):04X} is invisible or reorders text: remove it")
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _WHOLE.fullmatch(text):
            return int(text)
        for pattern, meaning in _TRAPS:
            if pattern.fullmatch(text):
                self._note(event, f"{text[:40]} is {meaning}: quote it, or write a whole number, true or false")
                return text
        return text

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            self._stop(event, f"alias *{event.anchor[:40]} stands inside its own anchor or before it")
        return self.anchors[event.anchor]

    def _count(self, event: Any, size: int) -> None:
        self.nodes += size
        if self.nodes > MAX_NODES:
            self._stop(event, f"holds more than {MAX_NODES} values (aliases counted in full)")

    def _note(self, event: Any, message: str) -> None:
        mark = event.start_mark
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, "", message))

    def _stop(self, event: Any, message: str) -> None:
        self._note(event, message)
        raise InvalidInput(sorted(self.problems))


def _syntax(error: Any) -> str:
    """ruamel's words in one line, with the usual causes explained."""
    said = " ".join(str(part) for part in (error.context, error.problem) if part)
    if "\\t" in said:
        return "a tab: indent with spaces"
    return f"is not YAML: {said}"[:300]
