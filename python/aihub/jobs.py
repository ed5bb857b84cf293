"""Many jobs, each begun as soon as what it rests on is done; what fails stops what rests on it, and nothing else."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from . import interrupt
from .errors import HubError
from .parallel import NOTICE, PATIENCE

Ended = Callable[[str, HubError | None], None]  # the subject of a job, and what it failed with


@dataclass(frozen=True, eq=False)
class Crew:
    """Who does jobs of one kind: given their subjects, it tells the end of each; one that it never told is done.

    With `together` all jobs that are ready at the same time are one call, and for `gather` seconds more may join them
    while others are at work; `most` calls go on side by side.
    """

    work: Callable[[Sequence[str], Ended], None]
    together: bool = False
    gather: float = 0.0
    most: int = 16


@dataclass(frozen=True)
class Job:
    """One thing to do. It begins when all that it rests on is done, and all that it comes `after` is over."""

    key: str
    subject: str
    crew: Crew
    rests_on: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()  # done or not
    place: str = ""  # two calls are never at work in one place


@dataclass(frozen=True)
class Result:
    """How a job ended: done, with an error of its own, or never begun because of another job."""

    error: HubError | None = None
    because: str = ""  # the key of the job that failed

    @property
    def done(self) -> bool:
        return self.error is None and not self.because


def run(
    jobs: Sequence[Job],
    may_begin: Callable[[], None],
    stop: threading.Event,
    told: Callable[[Job, Result], None] = lambda job, result: None,
) -> dict[str, Result]:
    """Does the jobs, and says of each how it ended, in their order; `told` hears of each when it is over.

    `may_begin` is asked before each call: what it raises ends the run, as does a fault that is no HubError, once
    everything that was begun is over. `stop` is set on Ctrl-C, for those that are at work.
    """
    board = _Board(jobs, told)
    try:
        board.work_off(may_begin)
    except KeyboardInterrupt:
        stop.set()
        board.leave(PATIENCE)
        raise
    return {job.key: board.over[job.key] for job in jobs}


@dataclass(frozen=True)
class _Word:
    """What a call says: how the job of a subject ended, or, without subject, that the call itself has ended."""

    call: int
    subject: str = ""
    error: BaseException | None = None


class _Board:
    """What is still to be begun, what is at work, what is over."""

    def __init__(self, jobs: Sequence[Job], told: Callable[[Job, Result], None]) -> None:
        self.over: dict[str, Result] = {}
        self._told = told
        self._open = {job.key: job for job in jobs}
        self._calls: dict[int, tuple[Crew, dict[str, Job]]] = {}
        self._begun = 0
        self._since: dict[Crew, float] = {}  # when a crew that gathers got the first of its next call
        self._words: queue.SimpleQueue[_Word] = queue.SimpleQueue()
        self._fault: BaseException | None = None

    def work_off(self, may_begin: Callable[[], None]) -> None:
        """Until nothing is open and nothing at work."""
        while True:
            interrupt.require_none()
            if self._fault is None:
                self._drop()
                self._begin(may_begin)
            if not self._calls:
                break
            self._listen()
        if self._fault is not None:
            raise self._fault
        assert not self._open, f"these wait for each other: {', '.join(self._open)}"

    def leave(self, patience: float) -> None:
        """Gives those at work some time to end."""
        limit = time.monotonic() + patience
        while self._calls and time.monotonic() < limit:
            self._listen()

    def _listen(self) -> None:
        """Takes in what was said meanwhile; waits a moment for the first word."""
        try:
            self._hear(self._words.get(timeout=NOTICE))
            while True:
                self._hear(self._words.get_nowait())
        except queue.Empty:
            return

    def _drop(self) -> None:
        """What rests on something that is not done will not begin, and neither will what rests on that."""
        while dropped := [job for job in self._open.values() if self._missing(job)]:
            for job in dropped:
                missing = self._missing(job)
                self._end(self._open.pop(job.key), Result(because=self.over[missing].because or missing))

    def _missing(self, job: Job) -> str:
        """What a job rests on and is over, but not done; empty where there is none."""
        return next((key for key in sorted(job.rests_on) if key in self.over and not self.over[key].done), "")

    def _begin(self, may_begin: Callable[[], None]) -> None:
        taken = {job.place for _, jobs in self._calls.values() for job in jobs.values() if job.place}
        asked: set[Crew] = set()
        for job in [job for job in self._open.values() if self._ready(job)]:
            crew = job.crew
            if crew in asked or sum(other is crew for other, _ in self._calls.values()) >= crew.most:
                continue
            chosen = [job]
            if crew.together:
                asked.add(crew)
                chosen = [one for one in self._open.values() if one.crew is crew and self._ready(one)]
            chosen = [one for one in chosen if one.place not in taken]
            if not chosen or self._gathers(crew):
                continue
            try:
                may_begin()
            except Exception as error:  # Ctrl-C does not wait for those at work to end by themselves
                self._fault = error
                return
            taken |= {one.place for one in chosen if one.place}
            self._call(crew, chosen)

    def _gathers(self, crew: Crew) -> bool:
        """Whether a crew waits for more; not where nobody is at work who could make more ready."""
        now = time.monotonic()
        if self._calls and now - self._since.setdefault(crew, now) < crew.gather:
            return True
        self._since.pop(crew, None)
        return False

    def _ready(self, job: Job) -> bool:
        return (job.rests_on | job.after) <= self.over.keys()

    def _call(self, crew: Crew, chosen: Sequence[Job]) -> None:
        self._begun += 1
        number = self._begun
        self._calls[number] = (crew, {job.subject: self._open.pop(job.key) for job in chosen})
        subjects = [job.subject for job in chosen]

        def ended(subject: str, error: HubError | None) -> None:
            self._words.put(_Word(number, subject, error))

        def work() -> None:
            try:
                crew.work(subjects, ended)
            except BaseException as error:
                self._words.put(_Word(number, error=error))
            else:
                self._words.put(_Word(number))

        # A daemon: one that hangs cannot hold up Ctrl-C.
        threading.Thread(target=work, daemon=True, name=f"job-{number}").start()

    def _hear(self, word: _Word) -> None:
        _, jobs = self._calls[word.call]
        error = word.error if isinstance(word.error, HubError) else None
        if word.error is not None and error is None:
            self._fault = self._fault or word.error
        for subject in [word.subject] if word.subject else list(jobs):
            if subject in jobs:
                self._end(jobs.pop(subject), Result(error))
        if not word.subject:
            del self._calls[word.call]

    def _end(self, job: Job, result: Result) -> None:
        self.over[job.key] = result
        self._told(job, result)


def errors(results: Mapping[str, Result]) -> list[HubError]:
    """What went wrong, each error once, however many jobs ended with it."""
    found: list[HubError] = []
    for result in results.values():
        if result.error is not None and not any(result.error is one for one in found):
            found.append(result.error)
    return found
