"""What a collected check is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from aihub import paths
from aihub.model.resolved import Guest, Instance

from .context import NODE, Context

CONTEXT = pytest.StashKey[Context]()


def stack_of(path: Path) -> str:
    """The stack whose folder a test file lies in, or nothing."""
    inside = path.is_relative_to(paths.STACKS) and path.parent != paths.STACKS
    return path.relative_to(paths.STACKS).parts[0] if inside else ""


def subject_of(item: pytest.Item) -> Guest | Instance | None:
    """The guest or instance that a collected check is about."""
    found = _parameter(item)
    return found if isinstance(found, Guest | Instance) else None


def is_about_something(item: pytest.Item) -> bool:
    """False for a check of guests or instances of which this hub has none."""
    found = _parameter(item)
    return found is None or isinstance(found, Guest | Instance)


def _parameter(item: pytest.Item) -> object:
    return item.callspec.params.get("subject") if hasattr(item, "callspec") else None


def about(item: pytest.Item) -> str:
    """The name of what a collected check is about."""
    if subject := subject_of(item):
        return subject.name
    marker = item.get_closest_marker("about")
    return str(marker.args[0]) if marker else stack_of(item.path) or "hub"


def machine_of(item: pytest.Item) -> str:
    """The alias of the machine that a collected check asks first."""
    subject = subject_of(item)
    if subject is None:
        return NODE
    return subject.guest.name if isinstance(subject, Instance) else subject.name


def group_of(item: pytest.Item) -> str:
    """What the checks have in common that one process runs, one after the other."""
    return str(item.path) if item.get_closest_marker("together") else about(item)


def side_by_side(config: pytest.Config) -> bool:
    """Whether other processes run the checks; then this one must not contact anything before they are forked."""
    return bool(config.option.workers > 1 and not config.option.collectonly)


def variant_of(item: pytest.Item) -> str:
    """What tells one run of a parametrised check from the next, beside its subject: ` (name)`, or nothing."""
    if not hasattr(item, "callspec"):
        return ""
    subject = subject_of(item)
    rest = item.callspec.id.replace(subject.name if subject else "", "", 1).strip("-")
    return f" ({rest})" if rest else ""
