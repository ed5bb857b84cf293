"""Loads every module that registers routes, then stands in for the known endpoints that have no handler."""

from __future__ import annotations

import importlib
import logging
import pkgutil

from . import answers, registry, routes
from .surface import facts

LOG = logging.getLogger("pvelab")


def load() -> None:
    """Imports all modules of `routes`; what PVE has beyond them refuses as PVE does, then answers 501."""
    for found in pkgutil.iter_modules(routes.__path__):
        importlib.import_module(f"{routes.__name__}.{found.name}")
    answers.register()
    for name in facts()["methods"]:
        method, _, path = name.partition(" ")
        matched = registry.find(method, path)
        if matched is None or matched[0].template != path:
            registry.route(method, path)(missing)


def missing(call: registry.Call) -> None:
    """A known endpoint that the lab does not have: parameters and permissions were checked, nothing was done."""
    LOG.warning("not implemented: %s %s", call.method, call.path)
    raise registry.not_implemented(call.method, call.path)
