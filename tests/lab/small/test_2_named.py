"""`aihub up NAME`: what was named comes true, what was not stays as it is, and the next `up` does the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.cli import Api, Cli
from tests.lab.small.test_2_edits import Files, answer, inside, memory

pytestmark = pytest.mark.lab


@pytest.fixture
def files(hub: Cli) -> Iterator[Files]:
    found = Files(hub)
    yield found
    found.put_back(hub)


def test_one_instance_is_changed_and_the_rest_is_left_for_later(hub: Cli, api: Api, files: Files):
    before = inside(hub)
    files.add("stacks/notes/config/words", "second\n")
    files.edit("stacks/client/compose.yml", "mem_limit: 128m", "mem_limit: 130m")
    files.edit("hub.yml", *memory("2GiB", "3GiB"))
    since = hub.on("app", "docker inspect --format '{{.State.StartedAt}}' client-client-1")
    told = hub("plan", "notes@app")
    assert told.returncode == 3
    assert "left for another run" in told.stdout + told.stderr
    hub.ok("up", "notes@app", "--no-verify")
    assert answer(hub, "app")["file"] == "second"
    assert hub.on("app", "docker inspect --format '{{.State.StartedAt}}' client-client-1") == since
    assert int(api("GET", "/nodes/pve/qemu/311/config")["memory"]) == 2048
    assert hub("plan", "notes@app").returncode == 0
    code, left = hub.plan()
    assert code == 3
    assert {part for change in left["changes"] for part in change["parts"]} >= {"stack/client"}

    hub.ok("up", "app", "--no-verify")
    assert int(api("GET", "/nodes/pve/qemu/311/config")["memory"]) == 3072
    assert hub.on("app", "docker inspect --format '{{.State.StartedAt}}' client-client-1") != since
    assert hub.plan()[0] == 0

    files.put_back(hub)
    hub.ok("up", "--no-verify")
    assert inside(hub) == before


def test_an_instance_that_goes_is_named_or_nothing_is_done(hub: Cli, files: Files):
    before = inside(hub)
    files.edit("hub.yml", "stacks: [client, notes]", "stacks: [notes]")
    files.add("stacks/notes/config/words", "second\n")
    done = hub("up", "notes@app", "--no-verify")
    assert done.returncode == 4
    assert "client@app" in done.stderr
    files.put_back(hub)
    assert inside(hub) == before
    assert hub.plan()[0] == 0


def test_a_name_that_is_not_in_the_file_is_refused(hub: Cli):
    for verb in ("plan", "up"):
        done = hub(verb, "notes")
        assert done.returncode == 2
        assert "notes@app" in done.stderr
