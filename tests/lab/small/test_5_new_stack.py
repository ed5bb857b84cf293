"""From nothing to a stack of one's own that logs in elsewhere: one command, one word in hub.yml, one `up`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from tests.lab.cli import Cli
from tests.lab.small.test_2_edits import Files, come_true

pytestmark = pytest.mark.lab
NAME = "my-app"
MINUTES = 10


@pytest.fixture
def files(hub: Cli) -> Iterator[Files]:
    found = Files(hub)
    yield found
    found.put_back(hub)
    shutil.rmtree(hub.stacks / NAME, ignore_errors=True)


def test_a_new_stack_works_with_one_folder_and_one_word(hub: Cli, files: Files):
    """It is healthy only while it gets in where it keeps things, so at its first start the login is there already."""
    began = time.monotonic()
    before = {path: path.read_bytes() for path in hub.stacks.rglob("*") if path.is_file()}
    hub.ok("new", "stack", NAME, "--needs", "redis")
    made = {path for path in hub.stacks.rglob("*") if path.is_file()} - set(before)
    assert made == {path for path in (hub.stacks / NAME).rglob("*") if path.is_file()}
    files.edit("hub.yml", "stacks: [client, notes]", f"stacks: [client, notes, {NAME}]")
    come_true(hub, "app", "redis@security")
    hub.ok("verify", f"{NAME}@app")
    assert time.monotonic() - began < MINUTES * 60
    assert hub.on("app", f"docker inspect -f '{{{{.State.Health.Status}}}}' {NAME}-{NAME}-1") == "healthy"
    assert {path: path.read_bytes() for path in before} == before

    again = hub("new", "stack", NAME)
    assert (again.returncode, "there is such a stack already" in again.stderr) == (2, True)

    asked = f"docker exec {{}} {NAME}-{NAME}-1 sh /etc/{NAME}/healthy.sh > /dev/null 2>&1; echo $?"
    assert hub.on("app", asked.format("")) == "0"
    assert hub.on("app", asked.format("--env REDIS_PORT=1")) == "1", "its health check logs in"

    files.put_back(hub)
    hub.ok("up", "--no-verify")
    hub.settles()
    assert hub.on("app", f"docker ps --all --quiet --filter label=com.docker.compose.project={NAME}") == ""
