"""An author forgets every line of hardening, or asks for more: what a container can do stays the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aihub.checks import enclosed
from aihub.checks.context import Context
from aihub.checks.probes import OPEN, Place

from tests.lab.cli import Cli
from tests.lab.small.test_2_edits import Files, come_true, files

__all__ = ["files"]
COMPOSE, STACK = "stacks/notes/compose.yml", "stacks/notes/stack.yml"
STORE, CACHE = Place("10.20.10.11", 8200), Place("10.20.10.11", 6379)
DROPPED = "    cap_drop: [ALL]\n"
GAINS = '    security_opt: ["no-new-privileges:true"]\n'


def container(hub: Cli) -> dict[str, Any]:
    """Docker's own account of notes."""
    found: dict[str, Any] = json.loads(hub.on("app", "docker inspect notes-notes-1"))[0]
    return found


def answers(inside: Context, stack: str, *places: Place, guest: str = "app") -> list[bool]:
    """Which places answer a stack's container."""
    found = enclosed.ask(inside.shells.shell(guest), {stack: places})[stack]
    return [OPEN in found.answers[place] for place in places]


def bridges(hub: Cli) -> set[str]:
    """The guest's bridges of containers, and those that its firewall knows."""
    shown = hub.on(
        "app", "ip -o link show type bridge | cut -d' ' -f2; nft list table inet hub | grep -o 'chain br-.*'"
    )
    return set(shown.split()) - {"docker0:", "chain", "{"}


def test_what_an_author_forgets_is_there_and_a_need_opens_one_port(hub: Cli, files: Files, inside: Context) -> None:
    before = bridges(hub)
    assert answers(inside, "notes", STORE, CACHE) == [False, False]
    files.edit(COMPOSE, DROPPED, "")
    files.edit(COMPOSE, GAINS, "")
    files.edit(COMPOSE, "services:\n", "networks:\n  back: {}\n  front: {internal: true}\n\nservices:\n")
    files.edit(COMPOSE, "    mem_limit: 64m\n", "    mem_limit: 64m\n    networks: [back, front]\n")
    files.edit(STACK, "needs:\n", "needs:\n  start: {redis: [main]}\n")
    files.edit("hub.yml", "stacks: [vault, redis]", "stacks: [vault, redis, client]")
    come_true(hub, "app", "security")
    found = container(hub)
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]
    assert set(found["NetworkSettings"]["Networks"]) == {"hub-notes_back", "hub-notes_front"}
    assert answers(inside, "notes", STORE, CACHE) == [False, True]
    assert answers(inside, "client", STORE, CACHE, guest="security") == [False, True], "both are on its own guest"
    files.put_back(hub)
    come_true(hub, "app", "security")
    assert set(container(hub)["NetworkSettings"]["Networks"]) == {"hub-notes"}
    assert answers(inside, "notes", STORE, CACHE) == [False, False]
    assert bridges(hub) == before, "the networks are gone with their rules"


def test_the_walls_of_containers_are_compared_and_outlive_docker(hub: Cli, inside: Context) -> None:
    """Which makes its own rules anew when it starts, and none of these."""
    hub.on("app", "nft insert rule inet hub containers accept")
    assert answers(inside, "client", STORE, CACHE) == [True, True], "the wall is what kept it out"
    code, plan = hub.plan()
    assert (code, [change["subject"] for change in plan["changes"]]) == (3, ["app"])
    hub.ok("up", "--no-verify")
    assert answers(inside, "client", STORE, CACHE) == [False, True]
    hub.on("app", "systemctl restart docker.service")
    hub.settles()
    assert answers(inside, "client", STORE, CACHE) == [False, True]


@pytest.mark.parametrize("more", ["network_mode: host", "privileged: true", "cap_add: [NET_RAW]", "pid: host"])
def test_what_reaches_further_is_refused_before_anything_is_touched(hub: Cli, files: Files, more: str) -> None:
    files.edit(COMPOSE, "    mem_limit: 64m\n", f"    mem_limit: 64m\n    {more}\n")
    done = hub("plan")
    assert done.returncode == 2
    assert f"waivers: {{{more.partition(':')[0]}: ...}}" in done.stdout + done.stderr
