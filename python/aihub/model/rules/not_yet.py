"""What the models mark as not yet is refused where it is written: nobody relies on what nothing acts on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from ..findings import Finding, Place
from ..types import NotYet


def check(value: Any, place: Place = ()) -> Iterator[Finding]:
    """Every key inside a model, a list or a mapping that says what is not possible yet."""
    if isinstance(value, BaseModel):
        for key, field in type(value).model_fields.items():
            found = getattr(value, key)
            for mark in (m for m in field.metadata if isinstance(m, NotYet)):
                if found in mark.values if mark.values else found != field.default:
                    yield Finding((*place, key), f"not yet: {mark.why}", at_key=not mark.values)
            yield from check(found, (*place, key))
    elif isinstance(value, list | dict):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from check(inner, (*place, step))
