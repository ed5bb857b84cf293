"""The program that runs on guests, as one: what is put in place of a name is so in each of its parts."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import pytest
from aihub.guests.probe import on_guest, parts

MODULES: tuple[ModuleType, ...] = (
    on_guest,
    *(import_module(f"{parts.__name__}.{found.name}") for found in iter_modules(parts.__path__)),
)


class Program:
    """Reads a name where it is, and puts something in its place wherever it is used."""

    def __getattr__(self, name: str) -> Any:
        for module in MODULES:
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(name)

    def put(self, monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
        """Something else stands under a name while a test runs."""
        for module in MODULES:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
