"""Changes and plans: one difference between hub.yml and what is there, a list of them, and what was agreed to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .errors import Conflict


@dataclass(frozen=True)
class Difference:
    """One field that differs; values are normalised texts, never secret."""

    field: str
    actual: str | None
    wanted: str | None


@dataclass(frozen=True)
class Change:
    """One difference to be applied.

    `owner` says which module of aihub.owners applies it. `parts` are the objects inside the subject that it is about,
    where one change is about several. `later` stands for what cannot be looked at yet: it is compared once it runs,
    and then restarts and removals of undeclared things may follow; data stays.
    """

    subject: str  # a guest, an instance, or an object: `NAME@GUEST: database main`
    action: Literal["create", "update", "delete", "start", "stop", "configure", "deliver", "reconcile"]
    owner: Literal["node", "guests", "insides", "vault", "secrets", "services"]
    identity: Literal["token", "root@node", "guest", "service", "vault"]
    summary: str
    differences: tuple[Difference, ...] = ()
    restart: bool = False
    data_at_risk: str = ""
    parts: tuple[str, ...] = ()
    restarting: tuple[str, ...] = ()  # the instances that stop or restart with it
    later: bool = False
    details: dict[str, Any] = field(default_factory=dict, compare=False)  # for the applying adapter; not printed

    @property
    def holder(self) -> str:
        """The guest or instance that the subject is or belongs to: what `--allow-destroy` names."""
        return self.subject.partition(": ")[0]

    def as_json(self) -> dict[str, Any]:
        """The change as `--json` prints it."""
        found = asdict(self)
        del found["details"]
        return found


@dataclass(frozen=True)
class Kept:
    """Data of an instance that nobody declares any more: no change, and gone only when somebody names its holder."""

    holder: str  # STACK@GUEST by its id, or PROVIDER/OBJECT where nobody knows whose it was
    what: str
    where: str
    details: Mapping[str, str] = field(default_factory=dict, compare=False)  # for who removes it; not printed

    def as_json(self) -> dict[str, str]:
        """The data as `--json` prints it."""
        return {"holder": self.holder, "what": self.what, "where": self.where}


@dataclass(frozen=True)
class Undeclared:
    """What is on a guest and stands nowhere in hub.yml: `up` takes it away where it is `ours`, else leaves it alone."""

    guest: str
    what: str
    ours: bool = False
    rests: bool = False  # it lies there and does nothing
    way: str = ""  # what a person can do about it

    def as_json(self) -> dict[str, Any]:
        """It as `--json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """What `up` would do, in order; `unknown` names guests that could not be looked into.

    `waiting` are instances that `up` does not start, each with what it waits for: nothing of theirs is in `changes`.
    `kept` is what lies there for nobody, and stays. `undeclared` is what is on guests and stands nowhere in hub.yml: of
    what is ours the removal is one of the changes.
    """

    changes: tuple[Change, ...] = ()
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    waiting: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[Kept, ...] = ()
    undeclared: tuple[Undeclared, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether `up` has nothing to do; something may still wait."""
        return not self.changes and not self.unknown

    def of(self, *owners: str) -> tuple[Change, ...]:
        """The changes of these owners."""
        return tuple(change for change in self.changes if change.owner in owners)

    def as_json(self) -> dict[str, Any]:
        return {
            "changes": [c.as_json() for c in self.changes],
            "unknown": list(self.unknown),
            "warnings": list(self.warnings),
            "waiting": dict(self.waiting),
            "kept": [one.as_json() for one in self.kept],
            "undeclared": [one.as_json() for one in self.undeclared],
        }


@dataclass(frozen=True)
class Outcome:
    """How it ended for a guest or an instance: done, failed, or not begun because of another one."""

    subject: str
    error: str = ""
    because: str = ""  # the guest or instance that failed, or what a person has to do first

    @property
    def done(self) -> bool:
        return not self.error and not self.because

    def as_json(self) -> dict[str, Any]:
        """The outcome as `--json` prints it."""
        return {"subject": self.subject, "done": self.done, "error": self.error, "because": self.because}


def joined(parts: Iterable[Plan], warnings: Collection[str] = ()) -> Plan:
    """One plan of several, in their order; no warning twice."""
    every = list(parts)
    return Plan(
        tuple(change for part in every for change in part.changes),
        tuple(dict.fromkeys(name for part in every for name in part.unknown)),
        tuple(dict.fromkeys([*warnings, *(text for part in every for text in part.warnings)])),
        {name: why for part in every for name, why in part.waiting.items()},
        tuple(one for part in every for one in part.kept),
        tuple(one for part in every for one in part.undeclared),
    )


def require_agreed(agreed: Plan, now: Iterable[Change]) -> None:
    """Raises Conflict when a second look asks for more than was agreed to: somebody else is at it, too.

    More is: a deletion, a loss of data, a stop or restart, anything as root on the node, and any subject or part of
    one that the plan did not name.
    """
    if more := [change for change in now if adds(agreed, change)]:
        names = ", ".join(dict.fromkeys(change.subject for change in more))
        lines = "\n".join(f"{change.subject}: {change.action}: {change.summary}" for change in more)
        text = f"more is to be done than was agreed: somebody changed {names} since the plan was made\n{lines}"
        raise Conflict(text, hint="aihub plan")


def adds(agreed: Plan, change: Change) -> bool:
    """Whether a change is more than was agreed to."""
    said = [c for c in agreed.changes if c.owner == change.owner and c.subject == change.subject]
    covered = any(c.later and _within(change.subject, c.subject) for c in agreed.changes)
    if change.data_at_risk:
        return not any(c.data_at_risk for c in said)
    if change.identity == "root@node" and not any(c.identity == "root@node" for c in said):
        return True
    if covered:
        return False
    if not said:
        return True
    if change.action == "delete" and not any(c.action == "delete" for c in said):
        return True
    if any(c.action == "create" for c in said):
        return False  # nobody uses it yet
    if _disturbs(change) and not any(_disturbs(c) for c in said):
        return True
    return not {part for c in said for part in c.parts} >= set(change.parts)


def _disturbs(change: Change) -> bool:
    return change.restart or change.action in ("stop", "start", "delete")


def _within(subject: str, place: str) -> bool:
    """Whether a subject is a place (a guest or an instance), or something on it."""
    holder = subject.partition(": ")[0]
    return place in (subject, holder, holder.partition("@")[2])
