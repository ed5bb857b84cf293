"""The same job for many at once, where the error of one is no other's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

from . import interrupt
from .errors import HubError

K = TypeVar("K")
T = TypeVar("T")

AT_ONCE = 16
PATIENCE = 10.0  # seconds that Ctrl-C waits for what was begun
NOTICE = 0.2  # seconds; the kernel may give a Ctrl-C to any thread, and the one that waits must wake up for it


@contextmanager
def threads(most: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are waited for at the end; after Ctrl-C not for long, and what was not begun never is."""
    pool = ThreadPoolExecutor(most)
    try:
        yield pool
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def results(futures: Iterable[Future[T]]) -> list[T]:
    """What each gave, when all have ended. Raises the first error."""
    every = list(futures)
    try:
        while wait(every, NOTICE).not_done:
            interrupt.require_none()
    except KeyboardInterrupt:
        for one in every:
            one.cancel()
        wait(every, PATIENCE)
        raise
    return [one.result() for one in every]


def on_each(names: Iterable[K], job: Callable[[K], T]) -> dict[K, T | HubError]:
    """Does the job for every name, 16 at a time; what it gives for a name, or the HubError that it ended with."""

    def one(name: K) -> T | HubError:
        try:
            return job(name)
        except HubError as error:
            return error

    every = list(dict.fromkeys(names))
    with threads(AT_ONCE) as pool:
        return dict(zip(every, results([pool.submit(one, name) for name in every]), strict=True))


def for_all(names: Iterable[K], job: Callable[[K], T]) -> dict[K, T]:
    """Does the job for every name. Raises the first error when all have ended."""
    return all_of(on_each(names, job))


def all_of(found: Mapping[K, T | HubError]) -> dict[K, T]:
    """What was found for every name. Raises the first error, if there is one."""
    return {name: _good(result) for name, result in found.items()}


class Answers(Generic[K, T]):
    """What the job gave for every name, asked for one by one: who ended with an error fails nobody else's claim."""

    def __init__(self, names: Iterable[K], job: Callable[[K], T]) -> None:
        self.found = on_each(names, job)

    def of(self, name: K) -> T:
        """What it gave for this name. Raises the error that it ended with."""
        return _good(self.found[name])


def _good(result: T | HubError) -> T:
    if isinstance(result, HubError):
        raise result
    return result
