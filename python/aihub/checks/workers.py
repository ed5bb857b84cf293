"""pytest plugin: checks of different subjects run side by side, in a few forked processes (`--workers N`).

They are forked when everything is collected, since loading pytest and the checks costs more than most checks. Each gets
one group of checks after the other; a group is what is about one subject, or a file marked `together`. Groups with a
check marked `slow` begin first. The reports come back here, so that whatever looks at a run sees one run; a check whose
process ended early gets a report that says so.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest

from .context import redactor
from .results import RESULTS, lost
from .subjects import CONTEXT, group_of, machine_of, side_by_side

FORK = get_context("fork")
Link = Connection  # a worker sends None to get the places of its next checks, then place and reports of each


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--workers N`: how many processes run checks; by default this one does."""
    parser.getgroup("aihub").addoption("--workers", type=int, default=1, help="processes that run checks side by side")


def pytest_configure(config: pytest.Config) -> None:
    """Makes the two marks known."""
    config.addinivalue_line("markers", "together: the checks of this file share what they fetch: one process runs them")
    config.addinivalue_line("markers", "slow: takes several seconds of waiting, so it begins before the others")


def groups(items: Sequence[pytest.Item]) -> list[list[int]]:
    """The places of the checks of each group, in the order in which the groups begin."""
    found: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        found.setdefault(group_of(item), []).append(place)
    return sorted(found.values(), key=lambda group: not any(items[n].get_closest_marker("slow") for n in group))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Runs everything in workers; None leaves it to pytest, when there is to be one or nothing is to be run."""
    if not side_by_side(session.config) or session.testsfailed:
        return None
    waiting = groups(session.items)
    workers = _Workers(session, min(session.config.option.workers, len(waiting)))
    missing = set(range(len(session.items)))
    try:
        for place, reports in workers.results(waiting):
            missing.discard(place)
            _publish(session, reports)
    finally:
        workers.end()
    for place in sorted(missing):
        _publish(session, [lost(session.items[place], "; ".join(workers.problems) or "no process was left to run it")])
    return True


def _publish(session: pytest.Session, reports: Sequence[pytest.TestReport]) -> None:
    for report in reports:
        session.config.hook.pytest_runtest_logreport(report=report)
    if session.shouldfail:
        raise session.Failed(session.shouldfail)


class _Workers:
    """The processes; `problems` says why some of them ended early."""

    def __init__(self, session: pytest.Session, number: int) -> None:
        self.problems: list[str] = []
        self._running: dict[Link, BaseProcess] = {}
        for _ in range(number):
            ours, theirs = FORK.Pipe()
            child = FORK.Process(target=_work, args=(session, theirs, [*self._running, ours]), daemon=True)
            child.start()
            theirs.close()
            self._running[ours] = child

    def results(self, waiting: list[list[int]]) -> Iterator[tuple[int, list[pytest.TestReport]]]:
        """The place and the reports of each check that has run; ends when no worker is left."""
        while self._running:
            for link in connection.wait(list(self._running)):
                assert isinstance(link, Connection)
                try:
                    told = link.recv()
                    if told is None:
                        link.send(waiting.pop(0) if waiting else [])
                except (EOFError, OSError):
                    told = ""
                if isinstance(told, str):
                    self._gone(link, told)
                elif told:
                    yield told

    def _gone(self, link: Link, problem: str) -> None:
        child = self._running.pop(link)
        child.join()
        link.close()
        if child.exitcode:
            how = f"signal {-child.exitcode}" if child.exitcode < 0 else f"exit code {child.exitcode}"
            self.problems.append(f"a process of the checks ended with {how}\n{problem}".strip())

    def end(self) -> None:
        """Ends those that still run."""
        for link, child in self._running.items():
            child.kill()
            child.join()
            link.close()


def _work(session: pytest.Session, link: Link, of_parent: Sequence[Link]) -> None:
    """What a worker does: a group at a time, until there is none or nobody to ask."""
    for other in of_parent:
        other.close()  # or it would never see that its parent is gone
    os.environ.pop(RESULTS, None)
    manager = session.config.pluginmanager
    manager.unregister(name="terminalreporter")
    reports = _Reports()
    manager.register(reports)
    context = session.config.stash[CONTEXT]
    try:
        while places := _next(link):
            _run([session.items[place] for place in places], places, reports, link)
    except BaseException as error:
        with suppress(OSError):  # nobody may be there any more
            link.send(redactor(context.handed_out)(f"{error!r}\n{traceback.format_exc()}"))
        raise
    finally:
        context.close()


def _next(link: Link) -> list[int]:
    link.send(None)
    found: list[int] = link.recv()
    return found


def _run(items: Sequence[pytest.Item], places: Sequence[int], reports: _Reports, link: Link) -> None:
    items[0].config.stash[CONTEXT].shells.open(list(dict.fromkeys(map(machine_of, items))))
    for place, item, following in zip(places, items, [*items[1:], None], strict=True):
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        link.send((place, reports.taken()))


class _Reports:
    """A plugin that keeps the reports of the check that runs."""

    def __init__(self) -> None:
        self._found: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps one."""
        self._found.append(report)

    def taken(self) -> list[pytest.TestReport]:
        """Those that were kept, which are forgotten."""
        found, self._found = self._found, []
        return found
