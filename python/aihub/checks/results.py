"""pytest plugin: what a check found, without secrets, as one line of JSON for each check."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aihub.model.resolved import Guest, Instance

from .context import Context, first_line, redactor
from .subjects import CONTEXT, about, stack_of, subject_of, variant_of

RESULTS = "AIHUB_RESULTS"


_MESSAGE = 20_000  # characters: what a guest printed may be part of it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Blots secrets out of what a failed check would print, and notes what the check is about."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # a wrapper receives what it wraps
    context = item.config.stash[CONTEXT]
    redact = redactor(context.handed_out)
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        message = redact(str(crash.message if crash else report.longrepr)).removeprefix("AssertionError: ")[:_MESSAGE]
        report.user_properties.append(("message", message))
        report.longrepr = redact(str(report.longrepr))
    report.sections = [(title, redact(text)) for title, text in report.sections]
    if call.when == "setup":
        item.user_properties[:0] = _described(item)
        if label := _label(context, subject_of(item)):
            item.user_properties.append(("label", label))
        item.user_properties.append(("setup", report.duration))
        report.user_properties[:0] = item.user_properties
    return report  # type: ignore[return-value]


def _described(item: pytest.Item) -> list[tuple[str, object]]:
    function = getattr(item, "function", None)
    claim = (first_line(function) if function else item.name) + variant_of(item)
    return [("subject", about(item)), ("claim", claim), ("origin", _origin(item.path))]


def lost(item: pytest.Item, why: str) -> pytest.TestReport:
    """The report of a check that has none, since the process that was to run it ended: it failed."""
    why = f"it has no result: {why}"
    return pytest.TestReport(
        item.nodeid, item.location, {}, "failed", why, "call", user_properties=[*_described(item), ("message", why)]
    )


def _label(context: Context, subject: Guest | Instance | None) -> str:
    target = context.hub.target
    if isinstance(subject, Instance):
        if not target.makes_images or not subject.stack.builds:
            return ""
        return f"lab: {subject.stack.stand_in}" if subject.stack.stand_in else "lab build"
    if subject is None:
        return ""
    found = ["a container stands in for the VM"] if subject.kind == "vm" and not target.vm_owns_kernel else []
    return "; ".join(f"lab: {one}" for one in (*found, target.system_of(subject.image)) if one)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begins the file that `aihub verify` reads while we run: every check that is to have a result, in order."""
    _append({"collected": [item.nodeid for item in session.items]})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Appends a check's outcome to that file."""
    if report.when == "call" or report.failed or report.skipped:
        _append(result_of(report))


def _append(line: dict[str, object]) -> None:
    if path := os.environ.get(RESULTS):
        with Path(path).open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def _origin(path: Path) -> str:
    """`stacks/NAME` for a stack's own test, else the name of the file of checks."""
    stack = stack_of(path)
    return f"stacks/{stack}" if stack else path.stem.removeprefix("test_")


def result_of(report: pytest.TestReport) -> dict[str, object]:
    """A check's outcome as one JSON object."""
    known: dict[str, list[str]] = {}
    for key, value in report.user_properties:
        known.setdefault(key, []).append(str(value))
    message, setup = known.get("message", [""])[-1], float(known.get("setup", ["0"])[0])
    if report.skipped and isinstance(report.longrepr, tuple):
        message = str(report.longrepr[2]).removeprefix("Skipped: ")
    return {
        "id": report.nodeid,
        "subject": known.get("subject", ["hub"])[0],
        "claim": known.get("claim", [report.nodeid])[0],
        "origin": known.get("origin", [""])[0],
        "outcome": "failed" if report.failed else "skipped" if report.skipped else "passed",
        "seconds": round(report.duration + (setup if report.when == "call" else 0), 3),
        "message": message,
        "label": "; ".join(dict.fromkeys(known.get("label", []))),
    }
