"""Looks into guests, one ssh each, and says what differs from what hub.yml wants."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aihub import parallel, ssh
from aihub.errors import HubError, TaskFailed
from aihub.model.resolved import MACHINE, Hub
from aihub.model.types import NAME
from aihub.names import secret_folder
from aihub.plan import Change
from aihub.render import desired, secret_files
from aihub.state.directory import State

from .compare import configuration_changes, secret_changes

__all__ = ["Actual", "ask", "plan", "read", "secret_paths", "undelivered"]

_MOST = 100  # names of volumes that are believed
_PROGRAM = Path(__file__).with_name("on_guest.py")


@dataclass(frozen=True)
class Actual:
    """What a guest answered; `error` says why it did not."""

    guest: str
    error: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict)
    agent: Mapping[str, Any] | None = None  # its status.json
    data: tuple[str, ...] = ()  # the stacks whose volumes lie there


def ask(state: State, guest: str, request: Mapping[str, Any], timeout: float = 60) -> dict[str, Any]:
    """Runs the probe's program on a guest."""
    return ssh.ask(state, guest, _PROGRAM, request, timeout=timeout)


def read(hub: Hub, state: State, guests: Collection[str] | None = None) -> dict[str, Actual]:
    """The actual state of guests (default: all), in parallel."""
    answers = parallel.on_each(hub.guests if guests is None else guests, partial(_read_one, hub, state))
    return {n: Actual(n, error=str(a)) if isinstance(a, HubError) else a for n, a in answers.items()}


def plan(
    hub: Hub, state: State, actuals: Mapping[str, Actual], waiting: Collection[str] = ()
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """What differs on the guests that were looked at, and the names of those that did not answer.

    Instances that are `waiting` are left as they are, there or not.
    """
    wanted = desired(hub, state)
    changes: list[Change] = []
    for name, actual in actuals.items():
        if not actual.error:
            left = [f"stack/{i.stack.name}" for i in hub.on(name) if i.name in waiting]
            changes += configuration_changes(name, wanted[name], actual.manifest, actual.states, left)
            changes += secret_changes(secret_paths(hub, name, waiting), actual.secrets)
    return tuple(changes), tuple(name for name, actual in actuals.items() if actual.error)


def undelivered(hub: Hub, guests: Collection[str], waiting: Collection[str] = ()) -> list[Change]:
    """The secret files of guests that are still to be made."""
    return [change for name in guests for change in secret_changes(secret_paths(hub, name, waiting), {})]


def secret_paths(hub: Hub, guest: str, waiting: Collection[str] = ()) -> dict[str, tuple[str, int]]:
    """Every secret file that a guest must hold, but for instances that wait: path -> (instance, uid of its owner).

    What is the guest's own bears the guest's name instead.
    """
    own = [f"{secret_folder(MACHINE)}/{name}" for name in ("ca.pem", "tls.pem") if guest in hub.machines]
    return dict.fromkeys(own, (guest, 0)) | {
        f"{secret_folder(instance.stack.name)}/{name}": (instance.name, instance.stack.uid)
        for instance in hub.on(guest)
        for name in secret_files(hub, instance)
        if instance.name not in waiting
    }


def _names(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """The stacks whose volumes a guest says it has: what can be a stack's name, and no more than stand on a guest."""
    named = [one for one in answer.get("data") or () if isinstance(one, str) and re.fullmatch(NAME.strip("^$"), one)]
    return tuple(named[:_MOST])


def _read_one(hub: Hub, state: State, name: str) -> Actual:
    request = {"action": "probe", "secrets": list(secret_paths(hub, name))}
    try:
        answer = ask(state, name, request)
    except TaskFailed as error:
        # Before the first convergence there may be no Python: nothing is managed there yet.
        if "python3: not found" in error.what or "python3: command not found" in error.what:
            return Actual(name)
        raise
    return Actual(name, "", answer["manifest"], answer["actual"], answer["secrets"], answer["agent"], _names(answer))
