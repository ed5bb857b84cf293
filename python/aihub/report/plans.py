"""A plan that reads like a diff: what changes, as whom, what restarts, which data is at risk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from ..plan import Change, Kept, Outcome, Plan, Undeclared
from .console import BAD, CHANGED, FAINT, GOOD, NAME, line, out, table

Action = Literal["create", "update", "delete", "start", "stop", "configure", "deliver", "reconcile"]

SIGNS = {"create": "+", "start": "+", "deliver": "+", "delete": "-", "stop": "-"}
STYLES = {"+": GOOD, "-": BAD, "~": CHANGED}
VERBS: dict[Action, str] = {
    "create": "to create",
    "update": "to update",
    "delete": "to delete",
    "start": "to start",
    "stop": "to stop",
    "configure": "to configure",
    "deliver": "to deliver",
    "reconcile": "to reconcile",
}


def plan(found: Plan) -> None:
    """Prints a plan, its order kept."""
    console = out()
    for warning in found.warnings:
        console.print(line(("warning: ", CHANGED), warning))
    if found.is_empty and not found.waiting:
        console.print(line(("nothing to change", GOOD)))
        _rest(found)
        return
    width = max((len(_place(c)) for c in found.changes), default=0)
    for change in found.changes:
        _change(change, width)
    for name, why in found.waiting.items():
        console.print(line(("? ", CHANGED), (name.ljust(width), NAME), (f"  {why}", CHANGED)))
    for name in found.unknown:
        console.print(line(("? ", BAD), (name, NAME), ("  unknown: it runs but could not be looked into", BAD)))
    console.print(line((summary(found), NAME)))
    _rest(found)


def _rest(found: Plan) -> None:
    """What `up` leaves as it is."""
    undeclared([one for one in found.undeclared if not one.ours])
    kept(found.kept)


def undeclared(found: Sequence[Undeclared]) -> None:
    """Prints what is on guests and stands nowhere in hub.yml, and what to do about it."""
    for one in found:
        way = (f"  {one.way}", FAINT) if one.way else ""
        out().print(line(("! ", CHANGED), (one.guest, NAME), f"  undeclared: {one.what}", way))


def kept(found: Sequence[Kept]) -> None:
    """Prints the data that lies there for nobody, and how to be rid of it."""
    for one in found:
        words = f"  kept: {one.what} {one.where}"
        out().print(line(("= ", FAINT), (one.holder, NAME), words, (f"  --allow-destroy {one.holder}", FAINT)))


def summary(found: Plan) -> str:
    """The plan in one line."""
    counts = Counter(change.action for change in found.changes)
    parts = [f"{counts[action]} {words}" for action, words in VERBS.items() if counts[action]]
    if restarts := sum(change.restart for change in found.changes):
        parts.append(f"{restarts} with a restart")
    if risks := sum(bool(change.data_at_risk) for change in found.changes):
        parts.append(f"{risks} with data at risk")
    if found.waiting:
        parts.append(f"{len(found.waiting)} waiting")
    if found.unknown:
        parts.append(f"{len(found.unknown)} unknown")
    return "plan: " + ", ".join(parts)


def outcome(found: Sequence[Outcome]) -> None:
    """Prints what is done and what is not, and why: of an error its first line, the whole comes after the table."""
    made = table("", "guest or instance", "", "why")
    for one in found:
        why = f"waits for {one.because}" if one.because else one.error.partition("\n")[0]
        sign, style = ("✔", GOOD) if one.done else ("✘", BAD) if one.error else ("○", CHANGED)
        made.add_row(line((sign, style)), line((one.subject, NAME)), "done" if one.done else "not done", line(why))
    out().print(made)


def _place(change: Change) -> str:
    """The guest, instance or node; the object in it is said after the action."""
    return change.subject.partition(": ")[0]


def _words(change: Change) -> str:
    thing = change.subject.partition(": ")[2]
    return change.summary if thing in change.summary else f"{thing}: {change.summary}"


def _change(change: Change, width: int) -> None:
    console = out()
    sign = SIGNS.get(change.action, "~")
    shown = line(
        (f"{sign} ", STYLES[sign]),
        (_place(change).ljust(width), NAME),
        f"  {change.action}: {_words(change)}",
    )
    shown.append_text(line((f"  as {change.identity}", FAINT)))
    if change.restart:
        shown.append_text(line((" ".join(["  restarts", *change.restarting]), CHANGED)))
    console.print(shown)
    indent = " " * (width + 6)
    for difference in change.differences:
        old, new = (("none" if v is None else v) for v in (difference.actual, difference.wanted))
        parts = (f"{indent}{difference.field}: ", (old, BAD), " -> ", (new, GOOD))
        console.print(line(*parts))
    if change.data_at_risk:
        console.print(line(f"{indent}", (f"data at risk: {change.data_at_risk}", BAD)))
