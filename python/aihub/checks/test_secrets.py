"""No secret of the hub lies where it does not belong: a search for each of them, in all its forms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aihub.model.resolved import Guest, Hub
from aihub.parallel import Answers

from . import leaks
from .context import NODE, Context
from .leaks import Found
from .subjects import subject_of

pytestmark = [pytest.mark.together, pytest.mark.slow]
HERE = Path(__file__)
Scans = Answers[str, Found]


def with_agent(hub: Hub) -> Iterator[Guest]:
    """The guests to which an agent brings secrets."""
    return (hub.guests[name] for name in hub.agents)


@pytest.fixture(scope="session")
def scans(request: pytest.FixtureRequest, context: Context) -> Scans:
    """Every machine that is asked about here, scanned at the same time."""
    if context.hub.vault is None:
        pytest.skip("this hub has no store, and so no secret")
    items = [item for item in request.session.items if item.path == HERE]
    guests = {subject.name for item in items if (subject := subject_of(item))}
    others = {marker.args[0] for item in items if (marker := item.get_closest_marker("about"))}
    known = leaks.known(context.hub, context.state, context.vault)
    assert known.values, "no secret is known, so none can be found"
    context.handed_out.update(value for _, value in known.values)
    lab = context.state.lab(context.hub.name)
    return leaks.everywhere(context.state, known, sorted(guests | others), lab=lab)


def clean(found: Found) -> None:
    """Fails with the places of what was found, or with what could not be looked at."""
    assert not [str(hit) for hit in found.hits if hit.medium != "modes"]
    assert not found.blind


def test_guest(scans: Scans, guest: Guest, request: pytest.FixtureRequest) -> None:
    """no secret is in its files, its journal, its processes' arguments and environment, or what Docker knows of it"""
    found = scans.of(guest.name)
    if found.cut:
        text = f"searched for others' secrets within limits: {'; '.join(found.cut)}"
        request.node.user_properties.append(("label", text))
    if found.waived:
        held = sorted({hit.secret.partition("#")[0] for hit in found.waived})
        request.node.user_properties.append(("label", f"waived, in the environment of a process: {', '.join(held)}"))
    clean(found)


@pytest.mark.among(who=with_agent)
def test_modes(scans: Scans, guest: Guest) -> None:
    """files with secrets can be read by their owners only"""
    found = scans.of(guest.name)
    assert found.seen["modes"] > 0, "there is no such file"
    assert not [str(hit) for hit in found.hits if hit.medium == "modes"]


@pytest.mark.about(NODE)
def test_node(scans: Scans) -> None:
    """no secret is in its files, its journal, or its processes' arguments and environment"""
    clean(scans.of(NODE))


@pytest.mark.about(leaks.CONTROLLER)
def test_controller(scans: Scans) -> None:
    """no secret is in aihub's files on this machine, in its processes, or in an object of this checkout"""
    clean(scans.of(leaks.CONTROLLER))
