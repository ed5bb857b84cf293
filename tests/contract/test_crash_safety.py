"""Killed at any write, `up` and `down` are finished by the next run, and nothing that is not ours is touched.

The quick run takes a selection of the points. AIHUB_CRASH_POINTS=all takes every write before, inside and after;
AIHUB_CRASH_RANDOM=N adds N kills from outside at random moments (AIHUB_CRASH_SEED repeats a series).
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from provision_lab import TEMPLATE, Lab

WHERE = ("before", "inside", "after")
# How many writes the run makes, at least: the tests would notice if it were fewer.
WRITES = {"up": 15, "change": 4, "down": 8}
ALL = os.environ.get("AIHUB_CRASH_POINTS") == "all"
RANDOM = int(os.environ.get("AIHUB_CRASH_RANDOM", "0"))
SEED = int(os.environ.get("AIHUB_CRASH_SEED") or time.time())
KILLED = -signal.SIGKILL


def points(verb: str) -> list[str]:
    """The points of a run: all of them, or a selection that has every write and every place in it."""
    found = [f"{n}:{where}" for n in range(1, WRITES[verb] + 1) for where in WHERE]
    return found if ALL else [found[i] for i in range(0, len(found), 4 if verb == "up" else 5)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    found = Lab(tmp_path_factory.mktemp("lab"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def decoys(lab):
    """Guests of somebody else: on a neighbouring number, with one of our names, with a forged marker."""
    marker = "aihub:v1 hub=00112233445566ff vmid=110 guest=db"
    for vmid, name, text in ((109, "neighbour", "x"), (202, "db", "y"), (203, "forged", marker)):
        lab.root.task(
            "POST", "/nodes/pve/lxc", vmid=vmid, hostname=name, ostemplate=TEMPLATE, rootfs="local:1", description=text
        )
    return {vmid: lab.root.config(vmid) for vmid in (109, 202, 203)}


@pytest.fixture
def hub(lab, decoys):
    found = lab.hub("hub")
    yield found
    found.write({})
    found.ok("down")


def settled(lab, hub, decoys, ours):
    """Exactly the wanted guests, no volume without a guest, nothing foreign touched, nothing in flight."""
    guests = lab.root.guests()
    assert set(guests) == set(ours) | set(decoys)
    assert {guests[vmid]["status"] for vmid in ours} <= {"running"}
    volumes = lab.root("GET", "/nodes/pve/storage/local/content")
    assert {int(v["vmid"]) for v in volumes if v.get("vmid")} == set(guests)
    assert {vmid: lab.root.config(vmid) for vmid in decoys} == decoys
    assert hub.journal == []


def killed(hub, verb, point):
    """Runs into the crash point; a kill `inside` may come when the run is already over."""
    code = hub(verb, crash=point)
    assert code == KILLED or (point.endswith("inside") and code == 0), f"{verb} ended with {code}"


@pytest.mark.parametrize("point", points("up"))
def test_up_killed_is_finished_by_the_next_up(lab, hub, decoys, point):
    killed(hub, "up", point)
    hub.ok("up")
    settled(lab, hub, decoys, {110, 201})
    assert hub("plan") == 0


@pytest.mark.parametrize("point", points("change"))
def test_a_change_killed_is_finished_by_the_next_up(lab, hub, decoys, point):
    hub.ok("up")
    hub.write({"memory: 1GiB": "memory: 2GiB", "memory: 2GiB, disk: 10GiB": "memory: 3GiB, disk: 12GiB"})
    killed(hub, "up", point)
    hub.ok("up")
    settled(lab, hub, decoys, {110, 201})
    assert hub("plan") == 0
    assert lab.root.config(110)["memory"] == 2048
    assert "size=12G" in lab.root.config(201)["scsi0"]


@pytest.mark.parametrize("point", points("down"))
def test_down_killed_is_finished_by_the_next_down(lab, hub, decoys, point):
    hub.ok("up")
    killed(hub, "down", point)
    hub.ok("down")
    settled(lab, hub, decoys, set())


@pytest.mark.parametrize("point", points("down"))
def test_down_killed_is_undone_by_the_next_up(lab, hub, decoys, point):
    hub.ok("up")
    killed(hub, "down", point)
    hub.ok("up")
    settled(lab, hub, decoys, {110, 201})
    assert hub("plan") == 0


@pytest.mark.parametrize("number", range(RANDOM))
def test_a_kill_from_outside_at_any_moment(lab, hub, decoys, number):
    choice = random.Random(SEED + number)
    for verb in choice.choices(("up", "down"), (3, 1), k=3):
        hub(verb, crash=f"after {choice.uniform(0.005, 0.6)} s")
    hub.ok("up")
    settled(lab, hub, decoys, {110, 201})
    assert hub("plan") == 0


def test_the_points_reach_to_the_last_write(lab, hub, decoys):
    """One more than counted, and the run ends by itself: no write is left out of the matrix."""
    assert hub("up", crash=f"{WRITES['up']}:before") == KILLED
    hub.ok("up")
    assert hub("down", crash=f"{WRITES['down']}:before") == KILLED
    hub.ok("down")
    assert hub("up", crash=f"{WRITES['up'] + 1}:before") == 0
    assert hub("down", crash=f"{WRITES['down'] + 1}:before") == 0
