"""Errors as a person reads them: what happened, where, what to do next."""

from __future__ import annotations

import traceback
from pathlib import Path

from ..errors import HubError, InvalidInput
from ..paths import ROOT
from .console import BAD, FAINT, NAME, err, text

LOG = ROOT / "build" / "debug.log"


def error(problem: HubError) -> None:
    """Prints one of our own errors on standard error."""
    console = err()
    listed = problem.problems if isinstance(problem, InvalidInput) else []
    if listed:
        for entry in listed:
            console.print(text((f"{entry.file}:{entry.line}:{entry.column}: ", NAME), _key(entry.path), entry.message))
        count = len(listed)
        console.print(text((f"error: {count} mistake{'s' if count > 1 else ''}; nothing was contacted", BAD)))
    else:
        where = (f"{problem.where}: ", NAME) if problem.where else ""
        first, *more = problem.what.split("\n")
        console.print(text(("error: ", BAD), where, first))
        for line in more:
            console.print(text(f"  {line}"))  # never at the edge: it may be what a guest said
    for note in getattr(problem, "__notes__", ()):
        console.print(text(("also: ", BAD), note))
    if problem.hint:
        console.print(text(("next: ", FAINT), problem.hint))


def unexpected(problem: Exception, verb: str) -> None:
    """Prints a fault of aihub itself: the last frame here, the whole trace in a file."""
    frames = traceback.extract_tb(problem.__traceback__)
    last = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "aihub"
    console = err()
    what = f"aihub {verb} stopped on a fault of its own: {type(problem).__name__}: {problem}"
    console.print(text(("error: ", BAD), (f"{last}: ", NAME), what))
    console.print(text(("next: ", FAINT), _write(problem)))


def _write(problem: Exception) -> str:
    try:
        LOG.parent.mkdir(exist_ok=True)
        LOG.write_text("".join(traceback.format_exception(problem)), encoding="utf-8")
    except OSError as failure:
        return f"the same command with --debug shows the whole trace ({failure})"
    return f"the whole trace is in {LOG}; please report it, or run the same command again with --debug"


def _key(path: str) -> str:
    return f"{path}: " if path else ""
