"""Looks into guests, one ssh each, and says what differs from what hub.yml wants.

A guest that answers nothing, or nothing that can be used, is unknown, and no other: it gets little more time than those
that answer.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aihub import parallel, ssh, words
from aihub.errors import BadAnswer, HubError, TaskFailed
from aihub.model.resolved import MACHINE, Hub
from aihub.model.types import NAME
from aihub.names import secret_folder
from aihub.plan import Change, Difference, Undeclared
from aihub.render import RESTARTING, allowed_file, desired, made_from, secret_files
from aihub.state.directory import State

from .. import held
from . import answers
from .compare import STACK, Found, Wanted, configuration_changes, leaving, list_differences, secret_changes
from .compare import undeclared as strange

__all__ = [
    "STACK",
    "Inside",
    "allowed_changes",
    "ask",
    "forget",
    "going",
    "place",
    "plan",
    "read",
    "secret_paths",
    "undeclared",
    "undelivered",
]

T = TypeVar("T")

_MOST = 100  # names of volumes that are believed
_LONGEST = 60.0  # seconds that an answer may take
_AFTER = 8.0  # seconds of these that are left to the others once somebody has answered, or since they were asked
_PROGRAM = Path(__file__).with_name("on_guest.py")


@dataclass(frozen=True)
class Inside:
    """What a guest answered; `error` says why it did not."""

    guest: str
    error: str = ""
    bad: bool = False  # it answers, and asking again does not help
    manifest: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, Any] = field(default_factory=dict)
    stacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what is seen of each, managed or not
    others: tuple[tuple[str, str], ...] = ()  # the kind and the name of what is neither managed nor a stack's
    secrets: Mapping[str, Any] = field(default_factory=dict)
    agent: Mapping[str, Any] | None = None  # its status.json
    data: tuple[str, ...] = ()  # the stacks whose volumes lie there
    allowed: tuple[str, ...] = ()  # the hosts that it lets others reach, where it is the way out

    @property
    def found(self) -> Found:
        """What it says of itself, to be compared."""
        return Found(self.manifest, self.states, self.stacks, self.others)

    def has(self, part: str) -> bool:
        """Whether a role or a stack is there: it was recorded, or has containers though no record says so."""
        seen = self.stacks.get(part.removeprefix(STACK), ())
        return part in self.manifest.get("desired", {}) or any(one.startswith("container ") for one in seen)


def ask(state: State, guest: str, request: Mapping[str, Any], shape: type[T], **more: Any) -> T:
    """Runs the probe's program on a guest. Raises BadAnswer for an answer of another shape, and what `run` raises."""
    return ssh.ask(state, guest, _PROGRAM, request, shape, **more)


def place(state: State, guest: str, wanted: Collection[Mapping[str, Any]]) -> None:
    """Makes files on a guest."""
    ask(state, guest, {"action": "place", "wanted": list(wanted)}, answers.Placed)


def forget(state: State, guest: str, stack: str) -> None:
    """Removes the volumes of a stack on a guest."""
    ask(state, guest, {"action": "forget", "stack": stack}, answers.Forgotten)


class _Patience:
    """How long answers are waited for: as soon as somebody has answered, the others have little time left."""

    def __init__(self) -> None:
        self._latest = 0.0
        self._turn = threading.Lock()

    def begin(self) -> Callable[[], float]:
        """The clock of one that is asked now."""
        began = time.monotonic()

        def left() -> float:
            end = began + _LONGEST
            if self._latest:
                end = min(end, max(self._latest, began) + _AFTER)
            return end - time.monotonic()

        return left

    def answered(self) -> None:
        """Somebody has."""
        with self._turn:
            self._latest = time.monotonic()


def read(hub: Hub, state: State, guests: Collection[str] | None = None) -> dict[str, Inside]:
    """The actual state of guests (default: all), in parallel."""
    job = partial(_read_one, hub, state, _Patience())
    found = parallel.on_each(hub.guests if guests is None else guests, job)
    return {name: _unknown(name, one) if isinstance(one, HubError) else one for name, one in found.items()}


def _unknown(name: str, error: HubError) -> Inside:
    return Inside(name, error=words.line(error.what), bad=isinstance(error, BadAnswer))


def plan(
    hub: Hub, state: State, actuals: Mapping[str, Inside], waiting: Collection[str] = ()
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """What differs on the guests that were looked at, and the names of those that did not answer.

    Instances that are `waiting` are left as they are, there or not; and so are those that are there and held.
    """
    changes: list[Change] = []
    still = held.in_force(hub, state)
    for name, wanted in _wanted(hub, state, waiting, made_from(hub, state)).items():
        actual = actuals.get(name)
        if actual and not actual.error:
            former = [part for i in hub.on(name) if i.name in still and actual.has(part := STACK + i.stack.name)]
            compared = replace(wanted, left=[*wanted.left, *former])
            hosts = allowed_changes(hub, name, actual.allowed)
            changes += configuration_changes(name, compared, actual.found, hosts)
            changes += secret_changes(secret_paths(hub, name, waiting), actual.secrets)
    return tuple(changes), tuple(name for name, actual in actuals.items() if actual.error)


def going(hub: Hub, state: State, actual: Inside, waiting: Collection[str] = ()) -> Mapping[str, str]:
    """The roles and stacks of a guest that nobody needs any more, each with what becomes of it."""
    return leaving(_wanted(hub, state, waiting)[actual.guest], actual.found)


def undeclared(
    hub: Hub, state: State, actuals: Mapping[str, Inside], waiting: Collection[str] = ()
) -> tuple[Undeclared, ...]:
    """What is on the guests that were looked at and stands nowhere in hub.yml."""
    wanted = _wanted(hub, state, waiting) if actuals else {}
    seen = [one for one in actuals.values() if not one.error]
    return tuple(one for actual in seen for one in strange(actual.guest, wanted[actual.guest], actual.found))


def _wanted(
    hub: Hub, state: State, waiting: Collection[str], parts: Mapping[str, Mapping[str, Mapping[str, str]]] | None = None
) -> dict[str, Wanted]:
    """What each guest is to be made of."""
    return {
        name: Wanted(
            hashes,
            (parts or {}).get(name, {}),
            [STACK + i.stack.name for i in hub.on(name) if i.name in waiting],
            RESTARTING,
        )
        for name, hashes in desired(hub, state).items()
    }


def allowed_changes(hub: Hub, guest: str, there: Collection[str] = ()) -> tuple[Difference, ...]:
    """The hosts that the way out on a guest is to let through or to refuse from now on, one by one."""
    return list_differences("allowed host", there, hub.allowed_hosts) if allowed_file(hub, guest) else ()


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
        for instance in hub.told(guest)
        for name in secret_files(hub, instance)
        if instance.name not in waiting
    }


def _names(data: Collection[str]) -> tuple[str, ...]:
    """The stacks whose volumes a guest says it has: what can be a stack's name, and no more than stand on a guest."""
    return tuple([one for one in data if re.fullmatch(NAME.strip("^$"), one)][:_MOST])


def _read_one(hub: Hub, state: State, patience: _Patience, name: str) -> Inside:
    asked, allowed = list(secret_paths(hub, name)), allowed_file(hub, name)
    lines = [allowed] if allowed else []
    request = {"action": "probe", "secrets": asked, "lines": lines}
    try:
        answer = ask(state, name, request, answers.Probed, timeout=_LONGEST, patience=patience.begin())
    except TaskFailed as error:
        # Before the first convergence there may be no Python: nothing is managed there yet.
        if "python3: not found" in error.what or "python3: command not found" in error.what:
            return Inside(name)
        raise
    patience.answered()
    answers.require_whole(name, answer, asked, lines)
    return Inside(
        name,
        manifest=answer["manifest"],
        states=answer["actual"],
        stacks={name: tuple(seen) for name, seen in answer["there"]["stacks"].items()},
        others=tuple((one["kind"], one["name"]) for one in answer["there"]["others"]),
        secrets=answer["secrets"],
        agent=answer["agent"],
        data=_names(answer["data"]),
        allowed=tuple(answer["lines"][allowed] or ()) if allowed else (),
    )
