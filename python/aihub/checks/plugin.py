"""pytest plugin: runs each check once for every guest or instance that it is about.

A test that asks for `instance` (or, in `stacks/X/`, for anything of one) runs for each instance; one that
asks for `guest` runs for each guest, or for those that `@pytest.mark.guests(attribute=value)` names. With
`@pytest.mark.among(who=function)` it runs for the guests or instances that `function(hub)` gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aihub.errors import HubError
from aihub.model.resolved import Guest, Hub, Instance

from .context import Context
from .subjects import CONTEXT, about, is_about_something, machine_of, side_by_side, stack_of, subject_of

pytest_plugins = ["aihub.checks.fixtures", "aihub.checks.results", "aihub.checks.workers"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--subject NAME`: checks of these guests, instances, stacks, zones or the node only; `--only`: a file of ids."""
    group = parser.getgroup("aihub")
    group.addoption("--subject", action="append", default=[], help="a guest, instance, stack, zones or node")
    group.addoption("--only", default="", help="a file with the ids of the checks to run, one a line")


def pytest_configure(config: pytest.Config) -> None:
    """Knows the hub; contacts nothing yet."""
    config.addinivalue_line("markers", "guests(attribute=value): the guests that a check is about")
    config.addinivalue_line("markers", "among(who=function): function(hub) gives the guests or instances of a check")
    config.addinivalue_line("markers", "about(subject): what a check without guest or instance is about")
    try:
        context = Context.of_environment()
        _ = context.hub, context.state
    except HubError as error:
        raise pytest.UsageError(f"{error}\n{error.hint}".strip()) from error
    config.stash[CONTEXT] = context


def pytest_unconfigure(config: pytest.Config) -> None:
    """Closes shells and forwards."""
    if context := config.stash.get(CONTEXT, None):
        context.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run of a check for each guest or instance that it is about."""
    if "subject" not in metafunc.fixturenames:
        return
    context = metafunc.config.stash[CONTEXT]
    subjects = [s for s in _subjects(metafunc, context.hub) if not left_out(s, context)]
    metafunc.parametrize("subject", subjects, indirect=True, ids=[s.name for s in subjects], scope="session")


def _subjects(metafunc: pytest.Metafunc, hub: Hub) -> Iterator[Guest | Instance]:
    stack = stack_of(Path(str(metafunc.definition.path)))
    if chosen := metafunc.definition.get_closest_marker("among"):
        yield from chosen.kwargs["who"](hub)
    elif stack:
        yield from (i for i in hub.instances if i.stack.name == stack)
    elif "instance" in metafunc.fixturenames:
        yield from hub.instances
    else:
        marker = metafunc.definition.get_closest_marker("guests")
        wanted = marker.kwargs if marker else {}
        yield from (g for g in hub.guests.values() if all(getattr(g, k) == v for k, v in wanted.items()))


def left_out(subject: Guest | Instance, context: Context) -> bool:
    """A stack whose image cannot be made, or that waits for a person; its reason is shown in place of its checks."""
    if not isinstance(subject, Instance):
        return False
    unmade = context.hub.target.makes_images and bool(subject.stack.skipped)
    return unmade or subject.name in context.waiting


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out checks about nothing (a hub without a private zone), and what `--subject` doesn't name."""
    wanted, file = set(config.getoption("--subject")), str(config.getoption("--only"))
    kept = [item for item in items if is_about_something(item) and (not wanted or wanted & _names(item))]
    if file:
        ids = set(Path(file).read_text().splitlines())
        kept = [item for item in kept if item.nodeid in ids]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts to connect to every machine that a check will ask, all at the same time."""
    if session.config.option.collectonly or side_by_side(session.config):
        return
    context = session.config.stash[CONTEXT]
    context.shells.open(list(dict.fromkeys(map(machine_of, session.items))))


def _names(item: pytest.Item) -> set[str]:
    subject = subject_of(item)
    names = {about(item)}
    if isinstance(subject, Instance):
        names |= {subject.guest.name, subject.stack.name}
    if marker := item.get_closest_marker("about"):
        names.add(str(marker.args[0]))
    return names
