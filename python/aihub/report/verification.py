"""The verification table: a line per subject, every claim of a stack's own test, every failure in full."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.table import Table

from aihub.checks.runner import CheckResult

from .console import BAD, CHANGED, FAINT, GOOD, NAME, out, table, text

MARKS = {"passed": ("✔", GOOD), "failed": ("✘", BAD), "skipped": ("○", CHANGED)}


def checks(results: Sequence[CheckResult]) -> None:
    """Prints what was verified: counts per subject, what each stack answered, failures, skips."""
    console = out()
    console.print(_counts(results))
    own = [r for r in results if r.origin.startswith("stacks/")]
    if own:
        console.print()
    for result in own:
        console.print(_claim(result))
    for title, outcome in (("failed", "failed"), ("skipped", "skipped")):
        chosen = [r for r in results if r.outcome == outcome]
        if chosen:
            console.print(text(f"\n{title}:"))
        for result in chosen:
            _explain(result)
    console.print(text("\n", (summary(results), BAD if _count(results, "failed") else GOOD)))


def summary(results: Sequence[CheckResult]) -> str:
    """All results in one line."""
    parts = [f"{_count(results, outcome)} {outcome}" for outcome in MARKS if _count(results, outcome)]
    return f"{len(results)} checks: " + (", ".join(parts) or "none ran")


def _count(results: Sequence[CheckResult], outcome: str) -> int:
    return sum(r.outcome == outcome for r in results)


def _counts(results: Sequence[CheckResult]) -> Table:
    made = table("", "subject", "checks", "passed", "failed", "skipped", "seconds", "notes")
    for column in made.columns[2:7]:
        column.justify = "right"
    order = list(dict.fromkeys(r.subject for r in results))
    for subject, group in groupby(sorted(results, key=lambda r: order.index(r.subject)), key=lambda r: r.subject):
        found = list(group)
        worst = next((o for o in ("failed", "skipped") if _count(found, o)), "passed")
        labels = dict.fromkeys(label for r in found for label in r.label.split("; ") if label)
        made.add_row(
            text(MARKS["passed" if worst == "skipped" and _count(found, "passed") else worst]),
            text((subject, NAME)),
            str(len(found)),
            *(text((str(n), style if n else FAINT)) for n, style in _columns(found)),
            f"{sum(r.seconds for r in found):.1f}",
            text(("; ".join(labels), FAINT)),
        )
    return made


def _columns(found: Sequence[CheckResult]) -> list[tuple[int, str]]:
    return [(_count(found, outcome), style) for outcome, (_, style) in MARKS.items()]


def _claim(result: CheckResult) -> object:
    label = (f"  ({result.label})", FAINT) if result.label else ""
    return text(MARKS[result.outcome], " ", (result.subject, NAME), f"  {result.claim}", label)


def _explain(result: CheckResult) -> None:
    out().print(_claim(result))
    for line in result.message.strip().splitlines()[:8]:
        out().print(text((f"    {line}", FAINT)))
