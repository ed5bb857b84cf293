"""A secret that only a person has: who needs it waits, all others come up, and its arrival is all that was missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aihub.secrets import kept

from tests.lab.cli import Cli
from tests.lab.small.test_2_edits import Files, answer
from tests.lab.watch import wait_for

pytestmark = pytest.mark.lab
NEW, OLD = "notes@security/token", "notes@app/token"
VALUE = "what somebody else made, {}"


@pytest.fixture
def files(hub: Cli) -> Iterator[Files]:
    """The notes stand on both guests, and need a token that somebody has; the client gets one more file."""
    found = Files(hub)
    found.edit("hub.yml", "stacks: [vault, redis]", "stacks: [vault, redis, notes]")
    found.edit("stacks/notes/stack.yml", "secrets:", "secrets:\n    token: {given: true}")
    found.add("stacks/client/config/more", "added\n")
    yield found
    found.put_back(hub)


def give(hub: Cli, name: str) -> None:
    done = hub("secrets", "set", name, given=f"{VALUE.format(name)}\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert VALUE.format(name) not in done.stdout + done.stderr


def test_what_needs_a_given_secret_waits_for_it_and_nothing_else_does(hub: Cli, files: Files):
    before = answer(hub, "app")
    done = hub("up", "--no-verify")
    assert done.returncode == 1, done.stdout + done.stderr
    assert all(f"aihub secrets set {name}" in done.stderr for name in (NEW, OLD))
    assert hub.on("app", "cat /opt/hub/client/config/more") == "added", "others go on"
    assert hub.on("security", "ls /opt/hub") == "redis\nvault", "it is not there at all"
    assert answer(hub, "app") == before, "what ran goes on as it was"
    code, plan = hub.plan()
    assert (code, plan["changes"]) == (3, [])
    assert plan["waiting"] == {name.partition("/")[0]: f"waits for aihub secrets set {name}" for name in (NEW, OLD)}
    checked = hub("verify", "notes", "--json")
    assert (checked.returncode, checked.stdout.count('"skipped"')) == (0, 2), checked.stdout + checked.stderr

    give(hub, NEW)
    give(hub, OLD)
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0
    for guest, name in (("security", NEW), ("app", OLD)):
        assert answer(hub, guest) == before
        assert hub.on(guest, "cat /run/hub/notes/token; stat --format=' %a %u' /run/hub/notes/token") == (
            f"{VALUE.format(name)} 400 1001"
        )

    hub.ok("secrets", "forget", NEW)
    assert "token" not in hub.on("security", "ls /run/hub/notes")
    assert answer(hub, "security") == before, "it goes on with what it has read"
    code, plan = hub.plan()
    assert (code, plan["changes"], list(plan["waiting"])) == (3, [], ["notes@security"])
    hub.on("security", "systemctl --no-block restart hub-notes.service")
    wait_for(
        lambda: hub.on("security", "systemctl is-active hub-notes.service || true") == "activating", 20, "it waits"
    )
    give(hub, NEW)
    wait_for(lambda: hub.plan()[0] == 0, 30, "its arrival starts it")

    files.put_back(hub)
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0, "what is kept is no change"
    with hub.opened() as context:
        left = kept.kept(context.hub, context.vault)
        assert {(one.instance, one.keep) for one in left} == {("notes@security", "given"), ("notes@app", "given")}
        for instance in ("notes@security", "notes@app"):
            assert len(kept.destroy(context.hub, context.vault, instance)) == 1
        assert kept.left(context.hub, context.vault) == ()
