"""Edits of stacks: true in one `up`, and taken back in one more; the store's flavour is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.cli import Api, Cli
from tests.lab.small.long_node import node, refused, untouched
from tests.lab.small.test_2_edits import Files, come_true, files, machines
from tests.lab.small.test_2_undeclared import there
from tests.lab.small.test_6_identity import COUNT, kept, users, versions

__all__ = ["files", "untouched"]
pytestmark = pytest.mark.lab
IMAGES = "docker ps --format '{{.Names}} {{.Image}}' | sort"
SECRETS = "ls /run/hub/client /run/hub/notes; docker exec client-client-1 printenv REDIS_HOST"


def world(hub: Cli, api: Api) -> dict[str, object]:
    """What the edits below touch, as other tools see it."""
    return {
        "machines": machines(api),
        "node": node(hub),
        "there": {guest: there(hub, guest) for guest in ("security", "app")},
        "images": {guest: hub.on(guest, IMAGES) for guest in ("security", "app")},
        "secrets": hub.on("app", SECRETS),
        "users": users(hub),
        "entries": sorted(versions(hub)),
        "kept": kept(hub),
    }


def same(now: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether the world is as it was, but for what is kept for nobody, and for cards, which are new after a start."""
    now, before = ({**one, "kept": "", "node": {**one["node"], "interfaces": ""}} for one in (now, before))
    assert [(now[key], before[key]) for key in before if now[key] != before[key]] == []
    return True


@pytest.fixture
def before(hub: Cli, api: Api, files: Files) -> Iterator[dict[str, object]]:
    """The world before the edit; what a test that fails leaves half-way is taken back."""
    found = world(hub, api)
    yield found
    files.put_back(hub)
    if hub.plan()[0] != 0:
        hub.ok("up", "--no-verify")


def logs_in(hub: Cli) -> bool:
    """Whether the client gets in, and was refused by nobody since it started."""
    works, denied = map(int, hub.on("app", COUNT).split()[:2])
    return works > 0 and denied == 0


def test_another_image_and_a_login_are_put_in_and_taken_out_again(hub: Cli, api: Api, files: Files, before):
    """The image of a server and of who uses it, and one more login at it for an instance that goes on."""
    for stack in ("redis", "client", "notes"):
        files.edit(f"stacks/{stack}/compose.yml", "image: valkey/valkey:8.1.9", "image: valkey/valkey:8.1.8")
    files.edit("stacks/notes/stack.yml", "needs:\n", "needs:\n  start: {redis: [main]}\n")
    come_true(hub, "security", "app", "redis@security")
    assert "valkey/valkey:8.1.8" in hub.on("security", IMAGES)
    assert hub.on("app", IMAGES).count("valkey/valkey:8.1.8") == 2
    assert [name for name in users(hub) if "notes" in name], "its login is there"
    assert "redis" in hub.on("app", "ls /run/hub/notes")
    assert logs_in(hub)
    hub.ok("verify", "security", "app")

    files.put_back(hub)
    come_true(hub, "security", "app", "redis@security")
    now = world(hub, api)
    others = now.pop("kept")
    assert isinstance(others, set)
    assert {what for _, what in others - before.pop("kept")} <= {"notes_app_main"}
    assert now == before
    assert logs_in(hub)


def test_another_flavour_of_the_store_is_refused(hub: Cli, files: Files, untouched):
    files.edit("hub.yml", "stacks: [vault, redis]", "stacks: [{vault: {flavour: vault}}, redis]")
    refused(hub, 4, "a store keeps the flavour that it began with", "put the former flavour back")
