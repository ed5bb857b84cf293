"""Killed at any write, `up` and `down` are finished by the next run, and nothing that is not ours is touched.

The quick run takes a selection of the points. AIHUB_CRASH_POINTS=all takes every write before, inside and after;
AIHUB_CRASH_RANDOM=N adds N kills from outside at random moments (AIHUB_CRASH_SEED repeats a series).
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass

import pytest

from tests.contract.provision_lab import POOL, TEMPLATE, Lab

WHERE = ("before", "inside", "after")
# How many writes a run makes; a test counts them.
WRITES = {"up": 15, "change": 5, "down": 8}
ALL = os.environ.get("AIHUB_CRASH_POINTS") == "all"
RANDOM = int(os.environ.get("AIHUB_CRASH_RANDOM", "0"))
SEED = int(os.environ.get("AIHUB_CRASH_SEED") or time.time())
CHANGES = {"memory: 1GiB": "memory: 2GiB", "memory: 2GiB, disk: 10GiB": "memory: 3GiB, disk: 12GiB"}
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Kill:
    """A run that dies at a point, and the run that finishes its work. `change` is an `up` of a changed hub.yml."""

    run: str
    point: str
    finish: str = "up"

    def __str__(self) -> str:
        return f"{self.run}@{self.point}>{self.finish}"


def kills(run: str, finish: str = "up") -> list[Kill]:
    """Every point of a run."""
    return [Kill(run, f"{n}:{where}", finish) for n in range(1, WRITES[run] + 1) for where in WHERE]


def scripts() -> list[tuple[Kill, ...]]:
    """What the tests go through: every kill from a fresh start, or a score of them in nine lives of a hub."""
    up, change = kills("up"), kills("change")
    down = [*kills("down", "down"), *kills("down")]
    if ALL:
        return [(kill,) for kill in (*up, *change, *down)]
    # Five is no multiple of three: every place before, inside and after a write has its turn.
    found = [[kill] for kill in up[::5]]
    for more in (change[::5], down[::5]):
        for script, kill in zip(found, more, strict=False):
            script.append(kill)
    return [tuple(script) for script in found]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    found = Lab(tmp_path_factory.mktemp("lab"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def decoys(lab):
    """Guests of somebody else: on a neighbouring number, with one of our names, a copy of one of ours in our pool."""
    copied = {"description": "aihub:v1 hub=00112233445566ff vmid=110 guest=db", "tags": "aihub;infra", "pool": POOL}
    foreign = {109: {"hostname": "neighbour"}, 202: {"hostname": "db"}, 203: {"hostname": "db", **copied}}
    for vmid, options in foreign.items():
        lab.root.task("POST", "/nodes/pve/lxc", vmid=vmid, ostemplate=TEMPLATE, rootfs="local:1", **options)
    return {vmid: lab.root.config(vmid) for vmid in (109, 202, 203)}


@pytest.fixture
def hub(lab, decoys):
    """A small hub of which nothing is there yet."""
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


@pytest.mark.parametrize("script", scripts(), ids=lambda script: ",".join(map(str, script)))
def test_a_killed_run_is_finished_by_the_next(lab, hub, decoys, script):
    for kill in script:
        if kill.run != "up":
            hub.ok("up")
        if kill.run == "change":
            hub.write(CHANGES)
        killed(hub, "down" if kill.run == "down" else "up", kill.point)
        hub.ok(kill.finish)
        settled(lab, hub, decoys, {110, 201} if kill.finish == "up" else set())
        assert kill.finish == "down" or hub("plan") == 0
        if kill.run == "change":
            assert lab.root.config(110)["memory"] == 2048
            assert "size=12G" in lab.root.config(201)["scsi0"]


if RANDOM:

    @pytest.mark.parametrize("number", range(RANDOM))
    def test_a_kill_from_outside_at_any_moment(lab, hub, decoys, number):
        choice = random.Random(SEED + number)
        for verb in choice.choices(("up", "down"), (3, 1), k=3):
            hub(verb, crash=f"after {choice.uniform(0.005, 0.6)} s")
        hub.ok("up")
        settled(lab, hub, decoys, {110, 201})
        assert hub("plan") == 0


@pytest.mark.slow
def test_the_points_reach_to_the_last_write(lab, hub, decoys):
    """One more than counted, and the run ends by itself: no write is left out of the matrix."""
    for run, writes in WRITES.items():
        for number, code in ((writes, KILLED), (writes + 1, 0)):
            hub.write({})
            hub.ok("down")
            if run != "up":
                hub.ok("up")
            if run == "change":
                hub.write(CHANGES)
            assert hub("down" if run == "down" else "up", crash=f"{number}:before") == code, (run, number)
