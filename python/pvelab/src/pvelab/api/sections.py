"""Sections of a configuration file: which options a type has, and what it says to wrong ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import failure, refuse_if
from .surface import parameters
from .words import number


@dataclass(frozen=True)
class Section:
    """The options of one type: required ones, others, and those that can't change once set."""

    required: frozenset[str]
    optional: frozenset[str]
    fixed: frozenset[str]

    def check(self, new: dict[str, Any], create: bool) -> None:
        """Raises what PVE says to the first wrong option."""
        for name in new:
            refuse_if(not create and name in self.fixed, f"can't change value of fixed parameter '{name}'")
            refuse_if(name not in self.required | self.optional, f"unexpected property '{name}'")
        if create:
            self.complete(new)

    def complete(self, values: dict[str, Any], prefix: str = "") -> None:
        """Raises when a required option has no value."""
        for name in sorted(self.required):
            if values.get(name) is None:
                raise failure(f"{prefix}missing value for required option '{name}'")

    def remove(self, names: list[str], new: dict[str, Any]) -> None:
        """Raises when one of the options to delete can't be."""
        for name in names:
            refuse_if(name not in self.required | self.optional, f"no such option '{name}'")
            refuse_if(name in self.required, f"unable to delete required option '{name}'")
            refuse_if(name in self.fixed, f"unable to delete fixed option '{name}'")
            refuse_if(new.get(name) is not None, f"cannot set and delete property '{name}' at the same time!")


def section(required: str, optional: str) -> Section:
    """A section from two lists of names; `!` marks what is fixed."""
    parts = [[name.rstrip("!") for name in text.split()] for text in (required, optional)]
    fixed = [name.rstrip("!") for name in f"{required} {optional}".split() if name.endswith("!")]
    return Section(frozenset(parts[0]), frozenset(parts[1]), frozenset(fixed))


def typed(endpoint: str, values: dict[str, Any]) -> dict[str, Any]:
    """Values as a section file gives them back: numbers where the endpoint's schema has numbers."""
    schema = parameters(*endpoint.split(" ", 1))
    numbers = ("boolean", "integer", "number")
    return {k: number(str(v)) if schema.get(k, {}).get("type") in numbers else v for k, v in values.items()}
