"""Instances that run their former version because an update failed: left as they are until what is declared changes."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from aihub.model.resolved import Hub, Instance
from aihub.render import desired
from aihub.state import statefile
from aihub.state.directory import State

_turn = threading.Lock()  # instances of several guests start at the same time


@dataclass(frozen=True)
class Held:
    """Why an instance is not what its folder says, and of which content of the folder that is true."""

    content: str  # the hash of the version that failed
    why: str
    at: str  # as a person reads it


def hold(hub: Hub, state: State, instance: Instance, why: str, at: str) -> None:
    """An instance is left as it is, as long as its folder has what failed."""
    found = _read(state) | {instance.name: Held(_content(hub, state, instance), why, at)}
    statefile.replace(_path(state), json.dumps({name: asdict(one) for name, one in sorted(found.items())}))


def release(state: State, *names: str) -> None:
    """These are compared again."""
    with _turn:
        known = _read(state)
        left = {name: asdict(one) for name, one in known.items() if name not in names}
        if left and len(left) < len(known):
            statefile.replace(_path(state), json.dumps(left))
        elif not left:
            statefile.unlink(_path(state))


def in_force(hub: Hub, state: State) -> Mapping[str, Held]:
    """The instances that are held now: their folder still has what failed."""
    if not (known := _read(state)):
        return {}
    now = {
        f"{part.removeprefix('stack/')}@{guest}": text
        for guest, parts in desired(hub, state).items()
        for part, text in parts.items()
    }
    return {name: one for name, one in known.items() if now.get(name) == one.content}


def _content(hub: Hub, state: State, instance: Instance) -> str:
    return desired(hub, state)[instance.guest.name][f"stack/{instance.stack.name}"]


def _read(state: State) -> dict[str, Held]:
    path = _path(state)
    return {name: Held(**one) for name, one in json.loads(path.read_text()).items()} if path.exists() else {}


def _path(state: State) -> Path:
    return state.directory / "held.json"
