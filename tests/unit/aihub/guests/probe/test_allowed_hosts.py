"""What the way out lets through is decided by hub.yml, stacks and OS images; a plan shows each host one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from aihub import paths, render
from aihub.guests import probe
from aihub.model.resolved import Hub
from aihub.plan import Difference
from aihub.reading import load
from aihub.state.directory import State


@pytest.fixture
def hub() -> Hub:
    return replace(load.load(paths.DEFAULT_HUB, target="lab"), package_hosts=("*.debian.org",))


@pytest.fixture
def state(tmp_path: Path) -> State:
    found = State(tmp_path)
    found.make()
    found.key.with_suffix(".pub").write_text("ssh-ed25519 AAAA controller\n")
    return found


def planned(hub: Hub, state: State, before: Hub) -> tuple[Difference, ...]:
    """What a plan shows for the guest of the way out, which has what `before` wanted."""
    assert before.egress
    guest = before.egress.guest.name
    manifest = {"desired": render.desired(before, state)[guest], "entries": {}}
    actual = probe.Inside(guest, manifest=manifest, allowed=before.allowed_hosts)
    changes, _ = probe.plan(hub, state, {guest: actual})
    return tuple(one for change in changes if change.owner == "insides" for one in change.differences)


def test_each_host_that_comes_or_goes_stands_in_the_plan(hub: Hub, state: State) -> None:
    other = replace(hub, package_hosts=("mirror.example", "packages.example"))
    assert planned(other, state, hub) == (
        Difference("allowed host", None, "mirror.example"),
        Difference("allowed host", None, "packages.example"),
        Difference("allowed host", "*.debian.org", None),
    )
    assert planned(hub, state, hub) == ()


def test_the_hosts_stand_in_a_file_of_the_way_out_alone(hub: Hub) -> None:
    assert hub.egress
    (guest,) = [name for name in hub.guests if render.allowed_file(hub, name)]
    assert guest == hub.egress.guest.name
    files = [render.stack_files(hub, one).get("allowed-hosts") for one in hub.instances]
    assert [one for one in files if one is not None] == ["".join(f"{host}\n" for host in hub.allowed_hosts).encode()]


def test_no_file_of_the_controller_adds_one(hub: Hub, state: State) -> None:
    before = render.desired(hub, state)
    (state.directory / "package-hosts").write_text("evil.example\n")
    assert render.desired(hub, state) == before
