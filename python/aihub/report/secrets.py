"""What a hub's secrets are like: their ages, what a replacement disturbs, and how it went. Never a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from aihub.secrets.rotation import Outcome

from .console import BAD, CHANGED, FAINT, GOOD, NAME, out, table, text


@dataclass(frozen=True)
class SecretRow:
    """One thing that can be replaced, as `aihub secrets status` shows it."""

    name: str
    kind: str
    days: int | None  # how old it may get; None: nobody replaces it here
    since: datetime | None = None  # None: nobody knows
    age: int = 0  # days
    due: bool = False
    effect: str = ""  # what a replacement disturbs
    in_flight: bool = False
    keep: str = ""  # `never` or `given`: it is kept with its instance's data

    @property
    def state(self) -> str:
        """What is to be done about it, in words; empty: nothing."""
        if self.keep == "given" and self.since is None:
            return "its instance waits for it"
        return "a rotation is in flight" if self.in_flight else "due" if self.due else ""

    def as_json(self) -> dict[str, Any]:
        """The row as `--json` prints it."""
        return asdict(self)


def secrets(facts: Sequence[tuple[str, str, bool]], rows: Sequence[SecretRow]) -> None:
    """Prints what is known of the vault (what, how it is, whether that is well), then every secret with its age."""
    head = table("", "")
    for what, how, well in facts:
        head.add_row(text((what, NAME)), text((how, "" if well else BAD)))
    out().print(head)
    if rows:
        made = table("secret", "age", "due", "its replacement", "", right=("age", "due"))
        for row in rows:
            disturbs = text((row.effect or "disturbs nothing", "" if row.effect else FAINT))
            due = row.keep or f"{row.days} d"
            made.add_row(text((row.name, NAME)), _age(row), due, disturbs, text((row.state, CHANGED)))
        out().print(made)


def to_replace(rows: Sequence[SecretRow]) -> None:
    """Prints what is about to be replaced, and what that restarts."""
    made = table("to replace", "age", "disturbs", right=("age",))
    for row in rows:
        effect = row.effect or ("an earlier run is finished" if row.in_flight else "nothing")
        made.add_row(text((row.name, NAME)), _age(row), text((effect, CHANGED if row.effect else FAINT)))
    out().print(made)


def replaced(outcomes: Sequence[Outcome]) -> None:
    """Prints how it went."""
    made = table("secret", "", "seconds", right=("seconds",))
    for one in outcomes:
        words = one.error.what if one.error else "finished what an earlier run began" if one.resumed else "replaced"
        made.add_row(text((one.name, NAME)), text((words, BAD if one.error else GOOD)), f"{one.seconds:.1f}")
    out().print(made)


def _age(row: SecretRow) -> str:
    return "?" if row.since is None else f"{row.age} d"
