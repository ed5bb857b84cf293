"""Work that goes on beside the steps of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """A job on a thread of its own."""

    def __init__(self, job: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._job = job
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._job()
        except BaseException as error:
            self._error = error

    def join(self) -> None:
        """Returns when the work is done; raises its error."""
        self._thread.join()
        if self._error is not None:
            raise self._error
