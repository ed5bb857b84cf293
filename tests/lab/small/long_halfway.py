"""What goes wrong on its way: an image built anew, a start that failed, a hand at work beside `up`, another edit."""

from __future__ import annotations

import subprocess

import pytest

from tests.lab.cli import Api, Cli
from tests.lab.small.long_stacks import IMAGES, before, same, world
from tests.lab.small.test_1_kills import kill_when
from tests.lab.small.test_2_edits import Files, answer, come_true, files, machines, memory
from tests.lab.small.test_2_undeclared import planned
from tests.lab.watch import ours_running

__all__ = ["before", "files"]
pytestmark = pytest.mark.lab
IDS = "docker ps --format '{{.Names}} {{.ID}}' | sort"
LABEL = "docker inspect --format '{{index .Config.Labels \"aihub.test\"}}' "
WAITS = "systemctl show --property=ActiveState --value hub-wrecked.service"
WELL = '"test -e /run/secrets/api_key"'


def test_an_image_built_anew_under_the_same_name_is_the_one_that_runs(hub: Cli, api: Api, files: Files, before):
    """Docker takes what it has under a tag; the plan names the image, and who runs on it."""
    files.edit("stacks/redis/lab/Dockerfile", "WORKDIR /data\n", "WORKDIR /data\nLABEL aihub.test=anew\n")
    texts = planned(hub)
    assert "image valkey/valkey:8.1.9 built from" in texts["security"]
    come_true(hub, "security", "app")
    for guest, container in {"security": "redis-redis-1", "app": "notes-notes-1"}.items():
        assert hub.on(guest, LABEL + container) == "anew"
    files.put_back(hub)
    come_true(hub, "security", "app")
    assert hub.on("security", LABEL + "redis-redis-1") == ""
    assert same(world(hub, api), before)


def test_what_did_not_start_is_mended_while_its_unit_tries_again(hub: Cli, api: Api, files: Files, before):
    """Its unit makes the same containers as `up` does, by itself, every ten seconds."""
    files.edit("hub.yml", "stacks: [client, notes]", "stacks: [wrecked, client, notes]")
    assert hub("up", "--no-verify").returncode == 1
    assert hub.on("app", WAITS) == "activating"
    files.edit("stacks/wrecked/compose.yml", '"echo nobody answers; exit 1"', WELL)
    come_true(hub, "app")
    assert "wrecked-wrecked-1" in hub.on("app", IMAGES)
    files.put_back(hub)
    come_true(hub, "app")
    assert same(world(hub, api), before)


def test_what_a_hand_changes_while_up_runs_is_drift_for_the_next_plan(hub: Cli, files: Files):
    """After its files were placed and before its containers are recorded."""
    files.edit("hub.yml", "stacks: [client, notes]", "stacks: [wrecked, client, notes]")
    files.add("stacks/notes/config/words", "second\n")
    files.edit("stacks/wrecked/compose.yml", '"echo nobody answers; exit 1"', '"sleep 3; test -e /run/secrets/api_key"')
    child = hub.start("up", "--no-verify")
    hub.on(
        "app",
        "until test -e /opt/hub/wrecked/.env; do sleep 0.05; done; sleep 0.5; echo HAND=1 >>/opt/hub/notes/.env; "
        "chmod 0666 /opt/hub/wrecked/compose.yml",
    )
    said, _ = child.communicate(timeout=600)
    assert child.returncode == 0, said[-3000:]
    text = planned(hub)["app"]
    assert "file /opt/hub/notes/.env changed" in text
    assert "file /opt/hub/wrecked/compose.yml: mode is 0666, not 0644" in text
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0
    assert "HAND" not in hub.on("app", "cat /opt/hub/notes/.env")
    files.put_back(hub)
    come_true(hub, "app")


def test_another_edit_comes_true_where_a_killed_up_was_half_way(hub: Cli, api: Api, files: Files, before):
    files.edit("hub.yml", "stacks: [vault, redis]", "stacks: [vault, redis, notes]")
    files.add("stacks/notes/config/words", "second\n")
    kill_when(hub, "bring instances up")
    files.put_back(hub)
    files.edit("hub.yml", *memory("2GiB", "3GiB"))
    files.add("stacks/notes/config/words", "third\n")
    come_true(hub, "app")
    assert int(machines(api)["guests"]["app"]["memory"]) == 3072
    assert answer(hub, "app")["file"] == "third"
    assert "notes" not in hub.on("security", "docker ps --all --format '{{.Names}}'; ls /opt/hub /run/hub")
    files.put_back(hub)
    come_true(hub, "app")
    assert same(world(hub, api), before)


@pytest.mark.last
def test_down_after_an_edit_that_was_killed_leaves_nothing(hub: Cli, files: Files):
    files.edit("hub.yml", "stacks: [vault, redis]", "stacks: [vault, redis, notes]")
    files.edit("hub.yml", *memory("2GiB", "3GiB"))
    kill_when(hub, "bring instances up")
    hub.ok("down")
    assert ours_running(hub) == ours_running(hub, "pvelab") == []
    assert list(hub.state.glob(f"*-lab-{hub.lab}")) == []
    assert subprocess.run(["ip", "netns", "list"], capture_output=True, check=True).stdout.decode().count(hub.lab) == 0
    assert hub("status").returncode == 4
