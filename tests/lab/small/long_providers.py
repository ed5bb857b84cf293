"""A consumer and who serves it: a nearer provider is refused until somebody agrees, and `use` in hub.yml decides."""

from __future__ import annotations

import pytest

from tests.lab.cli import Api, Cli
from tests.lab.small.long_node import untouched
from tests.lab.small.long_stacks import before, same, world
from tests.lab.small.test_2_edits import Files, files
from tests.lab.small.test_2_undeclared import planned
from tests.lab.small.test_6_identity import COUNT

__all__ = ["before", "files", "untouched"]
pytestmark = pytest.mark.lab
NEARER = ("stacks: [client, notes]", "stacks: [redis, client, notes]")
PINNED = ("stacks: [redis, client, notes]", "stacks: [redis, {client: {use: {redis: security}}}, notes]")
LEAVES = "a consumer would leave its data behind"


def moved(hub: Cli) -> None:
    """One `up` that was agreed to, and nothing is left to do."""
    hub.ok("up", "--no-verify", "--allow-move", "client@app")
    code, left = hub.plan()
    assert (code, left["changes"], left["unknown"]) == (0, [], [])
    works, denied = map(int, hub.on("app", COUNT).split()[:2])
    assert (works > 0, denied) == (True, 0)


def served_by(hub: Cli) -> str:
    """The guest whose server the client logs in at, as its container has it."""
    return hub.on("app", "docker exec client-client-1 printenv REDIS_HOST").partition(".")[0]


def test_a_nearer_provider_is_refused_until_somebody_agrees(hub: Cli, files: Files, untouched):
    files.edit("hub.yml", *NEARER)
    text = planned(hub)["vault@security"]
    assert "redis@app in place of redis@security: it begins empty" in text
    done = hub("up", "--no-verify")
    assert done.returncode == 4
    assert LEAVES in done.stderr
    assert "aihub up --allow-move client@app" in " ".join(done.stderr.split())


def test_a_nearer_provider_serves_and_the_farther_one_serves_again(hub: Cli, api: Api, files: Files, before):
    files.edit("hub.yml", *NEARER)
    moved(hub)
    assert served_by(hub) == "app"
    assert "client" not in hub.on("security", "grep -o '^user [^ ]* on' /var/lib/hub/redis/data/users.acl")
    hub.ok("verify", "app")

    files.edit("hub.yml", *PINNED)
    done = hub("up", "--no-verify")
    assert done.returncode == 4
    assert LEAVES in done.stderr
    moved(hub)
    assert served_by(hub) == "security"
    files.edit("hub.yml", *reversed(PINNED))
    assert hub("up", "--no-verify").returncode == 4
    moved(hub)
    assert served_by(hub) == "app"

    files.put_back(hub)
    assert hub("up", "--no-verify").returncode == 4
    moved(hub)
    assert same(world(hub, api), before)


def test_a_provider_that_is_named_stays_whoever_is_nearer(hub: Cli, api: Api, files: Files, before):
    files.edit("hub.yml", *NEARER)
    files.edit("hub.yml", *PINNED)
    since = hub.on("app", "docker inspect --format '{{.State.StartedAt}}' client-client-1")
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0
    assert served_by(hub) == "security"
    assert hub.on("app", "docker inspect --format '{{.State.StartedAt}}' client-client-1") == since
    files.put_back(hub)
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0
    assert same(world(hub, api), before)
