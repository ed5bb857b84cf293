"""`aihub models pull`: the weights that hub.yml names are with their engines."""

from __future__ import annotations

from dataclasses import replace

from aihub.reading import load

from ...options import Options
from .. import up
from . import chosen


def run(options: Options) -> int:
    """Is `aihub up` for the engines of these models, without the checks."""
    models = chosen(load.load(options.hub, target=options.target), options.only)
    engines = dict.fromkeys(f"{model.engine}@{model.guest}" for model in models.values())
    return up.run(replace(options, only=tuple(engines), no_verify=True))
