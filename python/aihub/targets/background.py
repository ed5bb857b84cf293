"""Work that goes on beside the steps, and never ends unheard."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aihub.parallel import NOTICE

Progress = Callable[[str, str], None]


class Background:
    """A job in a thread of its own. As a context manager it is waited for at the latest when the context ends.

    Its error is raised by whoever joins first, else at the end of the context. A context that ends with an error of
    its own keeps that one, and the job's comes as a note to it. An interrupted one waits for nothing.
    """

    def __init__(self, subject: str, job: Callable[[], object], progress: Progress) -> None:
        self._subject = subject
        self._progress = progress
        self._job = job
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._job()
        except BaseException as error:
            self._error = error

    def join(self) -> None:
        """Returns when the work is done; raises its error."""
        if self._thread.is_alive():
            self._progress(self._subject, "waited for")
        while self._thread.is_alive():
            self._thread.join(NOTICE)
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.join()
        elif isinstance(error, Exception):
            try:
                self.join()
            except Exception as other:
                if other is not error:
                    error.add_note(f"beside it, {self._subject}: {other}")
