"""How owners speak to a person, whatever the person sees: aihub.report is one, a test may have another."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from aihub.plan import Plan


class Progress(Protocol):
    """What happens to a subject now, and how it ended."""

    def __call__(self, subject: str, words: str) -> None: ...

    def done(self, subject: str, words: str = "") -> None:
        """A subject is as it should be."""

    def failed(self, subject: str, words: str) -> None:
        """A subject could not be brought to where it should be."""


class Screen(Protocol):
    """Where a run says what it does, and where it asks."""

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """Progress of one step."""

    def plan(self, found: Plan) -> None:
        """Shows a plan."""

    def say(self, line: str) -> None:
        """One line for the person who waits."""

    def ask(self, question: str) -> str:
        """What a person answers; empty when nobody can be asked."""

    def ask_secret(self, question: str) -> str:
        """What a person types, unseen; empty when nobody can be asked."""

    def confirm(self, question: str) -> bool:
        """Whether a person said yes."""
