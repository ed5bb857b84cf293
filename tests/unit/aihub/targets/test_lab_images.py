"""What the lab makes beside a run's steps: nothing of it fails, or goes on, behind the run's back."""

from __future__ import annotations

import json
import threading
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.errors import TaskFailed
from aihub.model.resolved import Hub
from aihub.plan import Change, Plan
from aihub.proxmox.guests.desired import source_of
from aihub.reading import load
from aihub.targets import images_builder
from aihub.targets import lab as labs

GUESTS = Plan((Change("db", "create", "guests", "token", "new container"),))
STACKS = Plan((Change("db", "configure", "insides", "guest", "all roles"),))


class Screen:
    """Keeps what a person would see."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def progress(self, title: str) -> AbstractContextManager[Any]:
        return nullcontext(lambda subject, text: self.lines.append((subject, text)))


class Pvelab:
    """Stands in for the program; fails for a name that is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken = ""
        self.held = threading.Event()
        self.held.set()
        for module in (images_builder, labs):
            monkeypatch.setattr(module.process, "run", self.run)

    def run(self, argv, *, stdin=b"", timeout=0.0, check=True, lasting=False):
        self.held.wait(10)
        if argv[1] == "reuse":
            return images_builder.process.Result(argv, 0, b"[]", b"")
        name = argv[4] if argv[1] == "template" else argv[3]
        if self.broken and self.broken in name:
            raise TaskFailed("pvelab ended with exit code 1")
        found = {"name": name, "key": "0123", "outcome": "built", "seconds": 7.2}
        return images_builder.process.Result(argv, 0, json.dumps(found).encode(), b"")


@pytest.fixture
def pvelab(monkeypatch: pytest.MonkeyPatch) -> Pvelab:
    return Pvelab(monkeypatch)


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


@pytest.mark.parametrize(("agreed", "broken"), [(STACKS, "valkey/valkey"), (GUESTS, "local:import/ubuntu-24.04")])
def test_what_could_not_be_made_ends_the_run_though_nobody_waited(
    hub: Hub, pvelab: Pvelab, agreed: Plan, broken: str
) -> None:
    pvelab.broken = broken
    with pytest.raises(TaskFailed) as failed, ExitStack() as stack:
        labs.Lab("x").prepare(hub, agreed, Screen(), stack, stock=False)
    assert failed.value.where.startswith(broken)
    assert failed.value.exit_code == 1


def test_the_lab_is_told_how_much_memory_each_guest_needs_at_least(hub: Hub) -> None:
    least = labs.configuration(hub, "key")["least"]
    assert set(least) == {str(guest.vmid) for guest in hub.guests.values()}
    assert least["112"] == hub.least_memory("security") == (256 + 256) << 20


def test_the_packages_own_services_that_nobody_wants_are_masked_in_the_image(
    hub: Hub, pvelab: Pvelab, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(labs.process, "run", lambda argv, **options: asked.append(argv) or pvelab.run(argv, **options))
    labs.templates("x", ["local:import/one.qcow2", "local:import/other.qcow2"], ["caddy"], lambda *_: None)
    assert [argv[4] for argv in asked] == ["local:import/one.qcow2", "local:import/other.qcow2"]
    assert all(argv[argv.index("caddy.service") - 1] == "--mask" for argv in asked)


def test_the_images_of_all_guests_are_made_and_debian_stands_in_for_ubuntu(
    hub: Hub, pvelab: Pvelab, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(labs.process, "run", lambda argv, **options: asked.append(argv) or pvelab.run(argv, **options))
    lab = labs.Lab("x")
    with ExitStack() as stack:
        lab.prepare(hub, GUESTS, Screen(), stack, stock=True)
    volumes = [argv[argv.index("--volume") + 1] for argv in asked]
    assert sorted(volumes) == sorted({source_of(guest).volume for guest in hub.guests.values()})
    assert all(argv[argv.index("--suite") + 1] == "trixie" for argv in asked)
    assert lab.stand_in(hub.guests["private-ai"]) == "a container stands in for the VM (lab: Debian 13)"
    assert lab.stand_in(hub.guests["db"]) == ""
    assert lab.labels(hub)["Ubuntu 24.04 on private-ai"] == "Debian 13"


@pytest.mark.parametrize("agreed", [STACKS, GUESTS])
def test_a_run_ends_after_what_it_began(hub: Hub, pvelab: Pvelab, agreed: Plan) -> None:
    screen = Screen()
    pvelab.held.clear()
    with ExitStack() as stack:
        labs.Lab("x").prepare(hub, agreed, screen, stack, stock=False)
        assert not [text for _, text in screen.lines if text.startswith("built")]
        threading.Timer(0.2, pvelab.held.set).start()
    assert [text for _, text in screen.lines if text == "built in 7 s (0123)"]


def test_a_storage_that_hub_yml_makes_is_not_there_from_the_start_and_named_a_figure(tmp_path: Path) -> None:
    text = paths.DEFAULT_HUB.read_text().replace("{use: tank}", "{use: tank, create: {mirror: [ata-AAAA, ata-BBBB]}}")
    (tmp_path / "hub.yml").write_text(text)
    hub = load.load(tmp_path / "hub.yml", target="lab")
    later = {one["id"]: one.get("later") for one in labs.configuration(hub, "key")["storages"]}
    assert later == {"local": None, "local-zfs": False, "tank": True}
    assert labs.Lab("x").labels(hub)["the ZFS pool of storage tank"] == "a figure of the API"
