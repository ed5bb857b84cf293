"""Writes a commented starter hub.yml, generated from the models; used by `aihub init`."""

from __future__ import annotations

import json
import os
import secrets
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aihub import paths
from aihub.errors import InvalidInput
from aihub.model.hub import HubFile
from aihub.model.types import NotYet

from .schema import HUB

WIDTH = 100
NAMES = {"nodes": "pve", "storage": "fast", "gpus": "rtx5090", "zones": "infra", "guests": "db", "models": "assistant"}
"""What the one example entry of each mapping is called."""
FILLED = {"id", "stacks"}
"""Optional keys that a starter still has."""
HEAD = """\
# A hub: one file that becomes running, verified machines. Made by `aihub init`.
# What is not commented out is needed; change it to what you have. A key behind `#` shows its default or an example.
# Check it with `aihub validate`, rehearse it with `aihub up`, build it with `aihub up --target pve`.
"""


def text(directory: Path, *, name: str = "aihub", identity: str = "") -> str:
    """The starter file for a directory, with a fresh id. It loads as it is."""
    link = os.path.relpath(paths.DEFAULT_HUB.parent / HUB, directory)
    chosen = {"name": name, "id": identity or secrets.token_hex(8)}
    lines = [f"# yaml-language-server: $schema={link}", *HEAD.splitlines(), *_mapping(HubFile, 0, chosen)]
    return "\n".join(lines) + "\n"


def write(path: Path, *, name: str = "aihub") -> None:
    """Creates the file. Raises InvalidInput where there is one already."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text(path.parent, name=name))
    except FileExistsError as error:
        message = "there is a file already, and init never overwrites"
        raise InvalidInput(message, where=str(path), hint="aihub init --hub OTHER.yml") from error
    except OSError as error:
        raise InvalidInput(f"can't be written: {error.strerror}", where=str(path)) from error


def _mapping(model: type[BaseModel], depth: int, chosen: dict[str, str], inside: bool = False) -> Iterator[str]:
    for key, field in model.model_fields.items():
        if any(isinstance(mark, NotYet) and not mark.values for mark in field.metadata):
            continue
        if depth == 0:
            yield ""
        yield from _described(field, depth)
        lines = _entry(key, field, depth, chosen, inside or not (field.is_required() or key == "guests"))
        # Inside what is behind a `#` as a whole, a second `#` would only be in the way.
        shown = inside or field.is_required() or key in FILLED or (depth == 0 and key == "guests")
        yield from lines if shown else (_commented(line, depth) for line in lines)


def _described(field: FieldInfo, depth: int) -> list[str]:
    """The description and whether the key is needed, as comment lines."""
    indent = "  " * depth
    note = "Required." if field.is_required() else ""
    words = f"{field.description or ''} {note}".strip()
    return textwrap.wrap(words, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _entry(key: str, field: FieldInfo, depth: int, chosen: dict[str, str], inside: bool) -> Iterator[str]:
    indent = "  " * depth
    inner, named = _inner(field.annotation)
    if inner is None or key in ("stacks", "ssh_keys", "recovery"):
        value = chosen[key] if depth == 1 and key in chosen else _example(field)
        yield f"{indent}{key}: {_scalar(value, quoted=key == 'id')}"
        return
    yield f"{indent}{key}:"
    if named:
        yield f"{indent}  {NAMES[key]}:"
    # Names and ids are chosen for the hub itself only.
    yield from _mapping(inner, depth + (2 if named else 1), chosen if key == "hub" else {}, inside)


def _commented(line: str, depth: int) -> str:
    """A line behind a `#`; what is a comment already stays one."""
    indent = "  " * depth
    rest = line.removeprefix(indent)
    return line if not rest.strip() else f"{indent}# {rest}"


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model behind an annotation, and whether it stands under names of the person's choice."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    named = get_origin(annotation) is dict
    for part in get_args(annotation):
        found, inside = _inner(part)
        if found is not None:
            return found, named or inside
    return None, False


def _example(field: FieldInfo) -> Any:
    if field.examples:
        return field.examples[0]
    return field.get_default(call_default_factory=False)


def _scalar(value: Any, *, quoted: bool) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_scalar(item, quoted=False) for item in value) + "]"
    if value is None:
        return ""
    if isinstance(value, str) and (quoted or ":" in value):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
