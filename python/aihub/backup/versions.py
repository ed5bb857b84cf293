"""Which images an instance ran when: what a newer program wrote is not given to an older one.

Written by whoever starts instances, on this machine; of a time that nobody knows, nothing is refused.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from aihub.model.resolved import Instance
from aihub.render import images
from aihub.state import statefile
from aihub.state.directory import State

History = dict[str, list[tuple[str, list[str]]]]
"""By an instance's id when it began to run which images, the latest last."""

_MOST = 200  # changes of an instance that are remembered
_turn = threading.Lock()  # instances of several guests start at the same time


def record(state: State, instances: Iterable[Instance], now: datetime) -> None:
    """These run from now on what their folders name."""
    with _turn:
        known = _read(state)
        before = json.dumps(known)
        for instance in instances:
            running, history = sorted(set(images(instance).values())), known.setdefault(instance.id, [])
            if not history or history[-1][1] != running:
                known[instance.id] = [*history, (now.isoformat(), running)][-_MOST:]
        if json.dumps(known) != before:
            _write(state, known)


def take_back(state: State, instance: Instance, since: datetime) -> None:
    """An instance runs again what it ran before a time: what was recorded after it did not stay."""
    with _turn:
        known = _read(state)
        history = known.get(instance.id, [])
        left = [entry for entry in history if datetime.fromisoformat(entry[0]) < since]
        if left != history:
            _write(state, {**known, instance.id: left})


def at(state: State, instance: Instance, moment: datetime) -> tuple[str, ...]:
    """What an instance ran at a time; nothing where that is not known."""
    history = _read(state).get(instance.id, [])
    return next((tuple(names) for began, names in reversed(history) if datetime.fromisoformat(began) <= moment), ())


def newer(state: State, instance: Instance, moment: datetime) -> tuple[str, str] | None:
    """An image that an instance ran at a time, and the older one that its folder names; None where there is none."""
    now = {parsed(one)[0]: one for one in images(instance).values()}
    for image in at(state, instance, moment):
        name, version = parsed(image)
        if name in now and version > parsed(now[name])[1]:
            return image, now[name]
    return None


def parsed(image: str) -> tuple[str, tuple[int, ...]]:
    """The name of an image, and the numbers of its version."""
    name, _, tag = image.partition("@")[0].rpartition(":")
    return (name, tuple(map(int, re.findall(r"[0-9]{1,9}", tag)))) if name and "/" not in tag else (image, ())


def _read(state: State) -> History:
    path = _path(state)
    found: History = json.loads(path.read_text()) if path.exists() else {}
    return found


def _write(state: State, known: History) -> None:
    statefile.replace(_path(state), json.dumps(known, indent=1) + "\n")


def _path(state: State) -> Path:
    return state.directory / "versions.json"
