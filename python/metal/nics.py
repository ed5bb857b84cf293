"""The names of the node's network cards, which follow from their slots: a card more or less, and a bridge has no port.

On a node that gives cards to guests each network card is pinned to the name that it has, by its MAC. All of them are:
one that is not could come by the name of another. The file of interfaces is nobody's but the owner's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aihub.names import Layout

from .actual import ActualNode
from .desired import Desired
from .texts import render

_KERNELS = re.compile(r"eth[0-9]+")  # names that the kernel gives out itself: a file can't keep one
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")


@dataclass(frozen=True)
class Pinned:
    """A file of ours, and the name that it keeps."""

    path: str
    name: str


def files(desired: Desired, actual: ActualNode) -> dict[str, str]:
    """A file for each network card that nobody else has pinned, with its text."""
    layout = Layout(desired.hub)
    every = [nic.mac for nic in actual.nics]
    return {
        layout.link(nic.name): render("card.link.j2", desired, nic=nic)
        for nic in actual.nics
        if nic.mac not in actual.pinned
        and every.count(nic.mac) == 1
        and _NAME.fullmatch(nic.name)
        and not _KERNELS.fullmatch(nic.name)
    }


def removable(desired: Desired, actual: ActualNode) -> list[str]:
    """The files of ours without which every network card keeps its name."""
    return [one.path for one in _ours(desired, actual) if not _needed(actual, one)]


def kept(desired: Desired, actual: ActualNode) -> Iterator[str]:
    """A sentence for each file that stays although nothing else is left to keep it for."""
    for one in _ours(desired, actual):
        if name := _needed(actual, one):
            text = f"node {desired.node}: {one.path} stays: without it network card {one.name} would be called {name}"
            yield f"{text} from the next boot on; write that name into /etc/network/interfaces, then remove the file"


def _ours(desired: Desired, actual: ActualNode) -> list[Pinned]:
    before, after = Layout(desired.hub).link("*").split("*")
    found = [path for path in actual.files if path.startswith(before) and path.endswith(after)]
    return [Pinned(path, path.removeprefix(before).removesuffix(after)) for path in sorted(found)]


def _needed(actual: ActualNode, pinned: Pinned) -> str:
    """What a network card would be called by itself, where that is another name; empty where the file can go."""
    nic = next((nic for nic in actual.nics if nic.name == pinned.name), None)
    return (nic.natural or "otherwise") if nic and nic.natural != nic.name else ""
