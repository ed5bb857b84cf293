"""What the controller and metal tell each other, as JSON: an order, and one answer to it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .desired import Desired, from_data
from .steps import Action, Kind, Step

Outcome = Literal["planned", "done", "failed", "not reached"]
Cause = Literal["unreachable", "authentication", "host key", "command"]


@dataclass(frozen=True)
class Allowed:
    """A step that may be taken."""

    subject: str
    action: str
    restart: bool


@dataclass(frozen=True)
class Order:
    """What the node should be like.

    With `allowed`, nothing is changed unless every step that is needed is among these. With `only`, steps of other
    kinds are left for another time.
    """

    desired: Desired
    allowed: tuple[Allowed, ...] | None = None
    only: Kind | None = None

    def as_json(self) -> str:
        """The JSON that `Order.read` reads."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, text: str) -> Order:
        """Reads what `as_json` wrote. Raises ValueError for a desired state of another version."""
        data: dict[str, Any] = json.loads(text)
        allowed = data["allowed"]
        steps = None if allowed is None else tuple(Allowed(**one) for one in allowed)
        return cls(from_data(data["desired"]), steps, data["only"])


@dataclass(frozen=True)
class Taken:
    """A step, and what became of it."""

    kind: Kind
    subject: str  # the object, with its node
    action: Action
    differences: tuple[tuple[str, str, str], ...]  # field, actual, wanted
    restart: bool
    outcome: Outcome


@dataclass(frozen=True)
class Refusal:
    """Why metal will not touch the node."""

    kind: Literal["precondition", "conflict"]
    what: str
    hint: str


@dataclass(frozen=True)
class Failure:
    """What went wrong: the step, empty before the first, and the last lines of the command or of the connection."""

    cause: Cause
    step: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """Every step that was needed, and why not all was done; a refusal has changed nothing.

    `notes` tell what is not ours to change and worth a word. On the bridges in `closed` somebody still is: they go once
    he left. `cards` are the slots of the hub's cards, by name; `reboot` says why the node has to boot before a guest
    can have them; empty: it need not.
    """

    steps: tuple[Taken, ...] = ()
    refused: Refusal | None = None
    failed: Failure | None = None
    notes: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    cards: dict[str, str] = field(default_factory=dict)
    reboot: str = ""

    def as_json(self) -> str:
        """The JSON that `Answer.read` reads."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, text: str) -> Answer:
        """Reads what `as_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        data: dict[str, Any] = json.loads(text)
        steps = (Taken(**{**s, "differences": tuple(map(tuple, s["differences"]))}) for s in data["steps"])
        refused, failed = data["refused"], data["failed"]
        return cls(
            tuple(steps),
            Refusal(**refused) if refused else None,
            Failure(**{**failed, "lines": tuple(failed["lines"])}) if failed else None,
            tuple(data["notes"]),
            tuple(data["closed"]),
            dict(data["cards"]),
            str(data["reboot"]),
        )


def subject(step: Step, node: str) -> str:
    """The object of a step as the controller and a person name it."""
    return f"node {node}: {step.subject}"
