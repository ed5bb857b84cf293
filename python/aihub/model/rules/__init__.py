"""The rules between objects of a hub: each finding names both sides and the place of the second.

`check` needs only the file and the manifests, so it also runs on the sound part of a file with mistakes.
`check_wired` runs once every instance has its providers.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..findings import Finding
from ..hub import HubFile
from ..stack import Stack
from ..target import Target
from . import guests, models, network, nodes, not_yet, placements, routes
from .advice import warnings
from .manifest import check_stack
from .names import check_wired

__all__ = ["check", "check_stack", "check_wired", "warnings"]

Declared = Mapping[str, set[str]]


def check(file: HubFile, stacks: Mapping[str, Stack], declared: Declared, target: Target) -> list[Finding]:
    """Everything between objects that is wrong; `declared` also names entries with mistakes of their own."""
    return [
        *network.check(file, target),
        *nodes.check(file, target),
        *guests.check(file, declared),
        *placements.check(file, stacks, declared),
        *models.check(file, stacks, declared),
        *routes.check(file, stacks, declared),
        *not_yet.check(file),
    ]
