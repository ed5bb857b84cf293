"""Says in plain words, with the nearest right one, what pydantic found wrong."""

from __future__ import annotations

import json
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from .findings import Finding, Place, did_you_mean
from .types import MEANING

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
}


def findings(error: ValidationError, model: type[BaseModel]) -> list[Finding]:
    """One finding for each thing that pydantic found wrong, in the file's terms."""
    return [_finding(item, model) for item in error.errors(include_url=False)]


def show(value: object) -> str:
    """A value as a message may quote it: one short line, nothing that a terminal would obey."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = json.dumps(value, default=str)
    if "SECRET-KEY" in text or "PRIVATE KEY" in text:
        return "a private key"
    return text if len(text) <= 60 else text[:50] + '..."'


def _finding(item: Any, model: type[BaseModel]) -> Finding:
    place: Place = tuple(item["loc"])
    kind: str = item["type"]
    if place and place[-1] == "[key]":
        return Finding(place[:-1], f"the key {show(item['input'])} is not {_wanted(item)}", at_key=True)
    if kind == "extra_forbidden":
        word = str(place[-1])
        known = _fields(model, place[:-1])
        return Finding(place, f"unknown key {show(word)}{did_you_mean(word, known)}", at_key=True)
    if kind == "missing":
        return Finding(place[:-1], f'the key "{place[-1]}" is missing', at_key=True)
    if kind == "value_error":
        return Finding(place, f"{show(item['input'])}: {item['ctx']['error']}")
    if kind in ("string_too_long", "string_too_short"):
        word, bound = ("longer", "max_length") if kind == "string_too_long" else ("shorter", "min_length")
        return Finding(place, f"{show(item['input'])} is {word} than {item['ctx'][bound]} characters")
    if kind in ("too_short", "too_long"):
        least, most = item["ctx"].get("min_length"), item["ctx"].get("max_length")
        if not least:
            return Finding(place, f"has more than {most} entries")
        return Finding(place, f"needs at least {least} {'entry' if least == 1 else 'entries'}")
    return Finding(place, f"{show(item['input'])} is not {_wanted(item)}")


def _wanted(item: Any) -> str:
    """What would have been right."""
    kind: str = item["type"]
    context: dict[str, Any] = item.get("ctx", {})
    if kind == "string_type" and isinstance(item["input"], int):
        return "text: put it in quotes"
    if kind in _KINDS:
        return _KINDS[kind]
    if kind == "literal_error":
        words = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        given = item["input"]
        return "known" + did_you_mean(given if isinstance(given, str) else "", words)
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        return MEANING.get(pattern, f"of the form {pattern}")
    bounds = {
        "greater_than_equal": ("ge", "at least"),
        "less_than_equal": ("le", "at most"),
    }
    if kind in bounds:
        key, words_ = bounds[kind]
        return f"{words_} {context[key]}"
    return str(item["msg"])


def _fields(model: type[BaseModel], place: Place) -> list[str]:
    """The keys that the model takes at a place."""
    found: Any = model
    for step in place:
        models = [m for m in models_in(found) if isinstance(step, str) and step in m.model_fields]
        found = models[0].model_fields[str(step)].annotation if models else found
    # The name of a placement or a stack is not written as a key.
    return [n for m in models_in(found)[:1] for n in m.model_fields if n != "name" or m.__name__ == "HubSettings"]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]
