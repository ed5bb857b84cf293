"""Every error of aihub, each with the exit code a script may rely on.

HubError                 1  failed, safe to run again
├── InvalidInput         2  nothing was contacted
├── PreconditionFailed   4  nothing changed
├── Locked               5  another run holds the lock
├── Conflict             6  something that is not ours is in the way
├── CheckFailed          7  a check failed
├── Unreachable          1  a machine or an API did not answer
└── TaskFailed           1  a Proxmox task, a playbook or a child process ended badly
    └── BadAnswer        1  a machine answered what can't be used
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

DONE = 0
CHANGES_PENDING = 3
INTERRUPTED = 130


class HubError(Exception):
    """What happened, where, and the next command to run."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in an input file. `line` and `column` count from 1; 0 means the file as a whole."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        key = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.column}: {key}{self.message}"


class InvalidInput(HubError):
    """A file or an argument is wrong. Carries every problem found, not the first."""

    exit_code = 2

    def __init__(self, problems: list[Problem] | str, *, where: str = "", hint: str = "") -> None:
        self.problems = problems if isinstance(problems, list) else []
        what = problems if isinstance(problems, str) else "\n".join(str(p) for p in problems)
        super().__init__(what, where=where, hint=hint)


class PreconditionFailed(HubError):
    """Something must be true before the first change, and is not."""

    exit_code = 4


class Locked(HubError):
    """Another run holds the lock; `what` names the holder."""

    exit_code = 5


class Conflict(HubError):
    """An object that is not ours has a name, a number or an address that we need."""

    exit_code = 6


class CheckFailed(HubError):
    """At least one check failed."""

    exit_code = 7


class Unreachable(HubError):
    """A machine or an API did not answer in time."""


class TaskFailed(HubError):
    """Something that we started ended badly."""


class BadAnswer(TaskFailed):
    """A machine answered, but nothing that can be used: too much, or of another shape. Asking again does not help."""


def together(found: Sequence[HubError]) -> HubError:
    """One error as it is, several as one: a Conflict where one of them is, since a person has to look then."""
    if len(found) == 1:
        return found[0]
    alike = [kind for kind in (Unreachable, PreconditionFailed) if all(isinstance(one, kind) for one in found)]
    kind: type[HubError] = Conflict if any(isinstance(one, Conflict) for one in found) else [*alike, TaskFailed][0]
    hint = "; ".join(dict.fromkeys(one.hint for one in found if one.hint))
    return kind("\n".join(str(one) for one in found), hint=hint)


@contextmanager
def too_late(changed: Callable[[], bool]) -> Iterator[None]:
    """What refuses after something was `changed` is a failure: a refusal says that nothing was."""
    try:
        yield
    except PreconditionFailed as error:
        if not changed():
            raise
        raise TaskFailed(error.what, where=error.where, hint=error.hint) from error
