"""`aihub secrets set INSTANCE/NAME`: gives a secret that a person has, from standard input or typed unseen."""

from __future__ import annotations

import sys

from aihub.model.resolved import SecretRef
from aihub.secrets import given

from ... import report
from ...errors import DONE
from ...options import Options
from ...owners import secrets
from ...owners.run import Run, Step, find_target, opened, perform, take_lease
from . import alone

REACH: tuple[Step, ...] = (find_target, take_lease)


def run(options: Options) -> int:
    """The store holds it, and its guest's agent has brought it where that runs; nothing of it is printed."""
    (word,) = options.only
    with opened(options, "secrets set", report) as found:
        ref = given.chosen(found.hub, word)
        value = given.checked(_typed(found, word), word)
        alone(found, "secrets set")
        perform(found, REACH)
        version = given.put(found.hub, found.vault(), ref, value)
        if len(value) < given.SEARCHED:
            report.say(f"shorter than {given.SEARCHED} characters: `aihub verify` can't tell it from chance elsewhere")
        left = secrets.bring(found, ref, version)
        report.say(left or _reached(found, ref))
    return DONE


def _typed(run: Run, word: str) -> bytes:
    if sys.stdin.isatty():
        return run.screen.ask_secret(f"Value of {word}: ").encode()
    return sys.stdin.buffer.read(given.LONGEST + 3)  # a newline may follow, and what is too long is seen by that


def _reached(run: Run, ref: SecretRef) -> str:
    if still := [one for one in given.missing(run.hub, run.vault()) if one.instance == ref.instance]:
        return f"{ref.instance} has it, and waits for more: {given.commands(still)}"
    return f"{ref.instance} has it; where it was not started yet: aihub up"
