"""Edits of what guests stand in and stand on: a zone's internet, the storage of a disk, a file of a role."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.cli import ROOT, Api, Cli
from tests.lab.small.long_node import node, refused, untouched, ways_out
from tests.lab.small.long_stacks import before, same, world
from tests.lab.small.test_2_edits import Files, answer, come_true, files, machines
from tests.lab.small.test_2_undeclared import planned, started

__all__ = ["before", "files", "untouched"]
pytestmark = pytest.mark.lab
PUBLIC = "10.20.30.0/24, internet: outbound"
CLOSED = "10.20.30.0/24, internet: none"
ASKS = "timeout 3 bash -c '</dev/tcp/{}/443' 2>/dev/null && echo reached || echo walled"


@pytest.fixture
def egress(hub: Cli) -> Iterator[None]:
    """The stack of the way out is among those of the hub."""
    folder = hub.stacks / "egress"
    shutil.copytree(ROOT / "stacks" / "egress", folder)
    yield
    shutil.rmtree(folder)


def test_a_zone_loses_its_internet_under_a_running_guest_and_gets_it_again(
    hub: Cli, api: Api, files: Files, egress, before
):
    """What it then needs of outside comes through the way out."""
    registry = hub.world()["registry"]["address"]
    assert hub.on("app", ASKS.format(registry)) == "reached"
    files.edit("hub.yml", "stacks: [vault, redis]", "stacks: [vault, redis, egress]")
    come_true(hub, "security")
    whole = node(hub)

    files.edit("hub.yml", PUBLIC, CLOSED)
    assert "docker" in planned(hub)["app"]
    come_true(hub, "app", "node pve")
    assert ways_out(hub) == ["hubinfra"]
    assert hub.on("app", ASKS.format(registry)) == "walled"
    assert "up to date" in hub.on("app", "docker pull valkey/valkey:8.1.9")
    assert answer(hub, "app")["file"] == "first"
    hub.ok("verify", "app")

    files.edit("hub.yml", CLOSED, PUBLIC)
    come_true(hub, "app", "node pve")
    assert hub.on("app", ASKS.format(registry)) == "reached"
    assert node(hub) == whole
    files.put_back(hub)
    come_true(hub, "security")
    assert same(world(hub, api), before)


APP, SECURITY = "disk: 8GiB, stacks: [client", "disk: 8GiB, stacks: [vault"
DISKS = {"app": ("scsi0", "/nodes/pve/qemu/311")}


def test_another_storage_is_refused_with_the_way_that_keeps_the_data(hub: Cli, files: Files, untouched):
    files.edit("hub.yml", APP, APP.replace("8GiB", "8GiB, storage: bulk"))
    warnings = hub.plan()[1]["warnings"]
    assert [one for one in warnings if "qm disk move 311 scsi0 tank --delete 1" in one], warnings
    done = hub("up", "--no-verify")
    assert done.returncode == 4
    assert "--allow-destroy app" in done.stderr


def test_the_stores_own_disk_is_refused_by_the_plan_itself(hub: Cli, files: Files, untouched):
    files.edit("hub.yml", SECURITY, SECURITY.replace("8GiB", "8GiB, storage: bulk"))
    refused(
        hub, 4, "every secret of this hub", "its disk is on local-zfs", "pct move-volume 310 rootfs tank --delete 1"
    )


def test_a_disk_that_root_moved_is_where_hub_yml_says(hub: Cli, api: Api, files: Files):
    """The way that the refusal names, there and back."""
    former = machines(api)
    disk, path = DISKS["app"]

    def move(storage: str) -> None:
        assert api.wait(api("POST", f"{path}/move_disk", disk=disk, storage=storage, delete=1)) == "OK"

    move("tank")
    try:
        files.edit("hub.yml", APP, APP.replace("8GiB", "8GiB, storage: bulk"))
        assert [one["subject"] for one in hub.plan()[1]["changes"]] == ["vault@security: recovery kit"]
        hub.ok("up", "--no-verify")
        assert hub.plan()[0] == 0
        assert "tank:" in str(api("GET", f"{path}/config")[disk])
    finally:
        move("local-zfs")
    files.put_back(hub)
    hub.ok("up", "--no-verify")
    assert machines(api)["running"] == former["running"]
    assert answer(hub, "app")["file"] == "first"


@pytest.fixture
def copy(hub: Cli, tmp_path: Path) -> Iterator[tuple[Cli, Path]]:
    """The program and its roles as files that a test may edit."""
    for name in ("roles", "playbooks", "templates", "inventory", "stacks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "python", tmp_path / "python", ignore=shutil.ignore_patterns("pvelab", "__pycache__"))
    shutil.copy(ROOT / "ansible.cfg", tmp_path)
    yield replace(hub, environment={**hub.environment, "PYTHONPATH": str(tmp_path / "python")}), tmp_path / "roles"
    if hub.plan()[0] != 0:
        hub.ok("up", "--no-verify")


def test_a_file_of_a_role_converges_those_who_have_it_and_says_what_restarts(hub: Cli, copy: tuple[Cli, Path]):
    """The door's settings are of the guest with a door alone; Docker's are what all stacks run on."""
    other, roles = copy
    assert other.plan()[0] == 0
    since = {guest: started(hub, guest) for guest in ("security", "app")}
    caddy = roles / "door" / "templates" / "Caddyfile.j2"
    whole = caddy.read_text()
    caddy.write_text(whole + "# another line\n")
    _, found = other.plan()
    assert {(one["subject"], *one["parts"], *one["restarting"]) for one in found["changes"]} == {("app", "door")}
    assert "roles/door/templates/Caddyfile.j2 changed" in planned(other)["app"]
    come_true(other, "app")
    assert "# another line" in hub.on("app", "cat /etc/hub/door/Caddyfile")
    caddy.write_text(whole)
    come_true(other, "app")
    assert {guest: started(hub, guest) for guest in since} == since

    settings = roles / "docker" / "defaults" / "main.yml"
    text = settings.read_text()
    settings.write_text(text.replace("docker_log_size: ", "docker_log_size: 1"))
    assert settings.read_text() != text
    _, found = other.plan()
    assert {one["subject"]: sorted(one["restarting"]) for one in found["changes"]} == {
        "app": ["client@app", "notes@app"],
        "security": ["redis@security", "vault@security"],
    }
    come_true(other, "app", "security")
    settings.write_text(text)
    come_true(other, "app", "security")
    assert hub.plan()[0] == 0


def test_a_zone_comes_and_goes_while_a_guest_is_off(hub: Cli, api: Api, files: Files, before):
    """What the zone changes on that guest is compared once it runs, in the same run."""
    assert api.wait(api("POST", "/nodes/pve/qemu/311/status/stop")) == "OK"
    files.edit("hub.yml", "guests:\n", "  private: {subnet: 10.20.20.0/24, internet: outbound}\nguests:\n")
    come_true(hub, "app", "node pve")
    assert "10.20.20.1" in hub.on("app", "nft list table inet hub")
    assert api.wait(api("POST", "/nodes/pve/qemu/311/status/stop")) == "OK"
    files.put_back(hub)
    come_true(hub, "app", "node pve")
    assert "10.20.20.1" not in hub.on("app", "nft list table inet hub")
    assert same(world(hub, api), before)
