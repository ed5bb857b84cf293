"""Killed at any write, `up` and `down` are finished by the next run, and nothing that is not ours is touched.

The quick run takes a selection of the points. AIHUB_CRASH_POINTS=all takes every write before, inside and after;
AIHUB_CRASH_RANDOM=N adds N kills from outside at random moments (AIHUB_CRASH_SEED repeats a series). Several labs
share the work, each with a server and a hub of its own.
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass

import pytest

from tests.contract.campaign import Campaign, Place, selected
from tests.contract.fault_table import WHOLE, Table, table
from tests.contract.invariants import OURS, Decoys, again, broken
from tests.contract.provision_lab import Lab

__all__ = ["table"]

pytestmark = pytest.mark.slow
WHERE = ("before", "inside", "after")
# How many writes a run makes, files of the state directory and commands on the node included; a test counts them.
# `first` is `trust` and `up` of a controller that knows nothing yet, `change` an `up` of a changed hub.yml.
WRITES = {"first": 30, "up": 23, "change": 7, "down": 12}
VERBS = {"first": ("trust", "up"), "up": ("up",), "change": ("up",), "down": ("down",)}
CHANGES = {"memory: 1GiB": "memory: 2GiB", "memory: 2GiB, disk: 10GiB": "memory: 3GiB, disk: 12GiB"}
RANDOM = int(os.environ.get("AIHUB_CRASH_RANDOM", "0"))
SEED = int(os.environ.get("AIHUB_CRASH_SEED") or time.time())
KILLED = (-signal.SIGKILL, -signal.SIGALRM)
POINTS, MOMENTS = "killed before, inside or after a write", "killed at a random moment"


@dataclass(frozen=True)
class Kill:
    """A run that dies at a point, and the run that finishes its work."""

    run: str
    point: str
    finish: str = "up"

    def __str__(self) -> str:
        return f"{self.run}@{self.point}>{self.finish}"


def kills(run: str, finish: str, where: tuple[str, ...] = WHERE) -> list[Kill]:
    """Every point of a run."""
    return [Kill(run, f"{n}:{place}", finish) for n in range(1, WRITES[run] + 1) for place in where]


def points() -> list[Kill]:
    """Every write of every run; what the other verb makes of it is tried inside each write."""
    found = [*kills("first", "first"), *kills("change", "up"), *kills("down", "down")]
    found += [*kills("up", "down", ("inside",)), *kills("down", "up", ("inside",))]
    # Twenty-nine is no multiple of three: every place before, inside and after a write has its turn.
    return found if WHOLE else found[::29]


def moments() -> list[Kill]:
    """Kills from outside: any run, any moment, finished by any verb."""
    choice = random.Random(SEED)
    found = []
    for _ in range(RANDOM):
        run, finish = choice.choice(("first", "up", "up", "change", "down")), choice.choice(("up", "up", "down"))
        finish = "first" if run == "first" else finish
        found.append(Kill(run, f"after {choice.uniform(0.004, 0.35):.4f} s", finish))
    return found


def attempt(place: Place, kill: Kill, *, slow: bool = False, weakening: str = "") -> list[str]:
    """One kill from a known state, the run after it, and one more; what was not as it must be."""
    lab, hub, decoys = place.lab, place.hub, place.decoys
    begin(place, kill.run)
    hub.weaken = weakening
    if slow:
        lab.root.fault(
            kind="task-hang", method="POST", path="/nodes/pve/lxc$", seconds=3
        )  # a busy machine takes one to start `down`
    code = hub(*VERBS[kill.run], crash=kill.point)
    over = code == 0 and (kill.point.endswith("inside") or kill.point.startswith("after"))
    if code not in KILLED and not over:
        return [f"the run to be killed ended with {code}: {hub.output[-500:]}"]
    if code := hub(*VERBS[kill.finish]):
        return [f"{kill.finish} after the kill ended with {code}: {hub.output[-800:]}"]
    wrong = broken(lab, hub, decoys, frozenset() if kill.finish == "down" else OURS)
    if kill.finish != "down":
        wrong += again(lab, hub, "up")
    if kill.run == "change" and kill.finish == "up" and not wrong:
        wrong += [] if lab.root.config(110)["memory"] == 2048 else ["db has not the new memory"]
        wrong += [] if "size=12G" in lab.root.config(201)["scsi0"] else ["ai has not the new disk"]
    return wrong


def begin(place: Place, run: str) -> None:
    """The state that a run starts from."""
    hub = place.hub
    hub.write({})
    place.lab.root.sweep(frozenset(place.decoys.before))
    if run == "first":
        hub.forget()
        return
    hub.introduce()
    if run != "up":
        hub.ok("up")
    if run == "change":
        hub.write(CHANGES)


@pytest.fixture(scope="module")
def campaign(request):
    """All kills whose tests were selected."""
    found = Campaign(selected(request, "kill", "weak"), trial)
    yield found
    found.close()


@pytest.mark.parametrize("kill", points(), ids=str)
def test_a_killed_run_is_finished_by_the_next(campaign, table: Table, kill):
    wrong = campaign[kill]
    table.tried(POINTS, wrong)
    assert not wrong


if RANDOM:

    @pytest.mark.parametrize("kill", moments(), ids=str)
    def test_a_kill_from_outside_at_any_moment(campaign, table: Table, kill):
        wrong = campaign[kill]
        table.tried(MOMENTS, wrong)
        assert not wrong, f"AIHUB_CRASH_SEED={SEED}"


@dataclass(frozen=True)
class Weak:
    """A weakened product, and the kill that it does not survive; a slow create is one that the kill outruns."""

    fault: str
    weakening: str
    kill: Kill
    inside: str = ""  # the write to be killed inside, in place of the kill's point

    def __str__(self) -> str:
        return self.weakening.replace(" ", "-")


WEAK = (
    Weak(POINTS, "no intent is written before a create", Kill("up", "", "down"), "POST /nodes/pve/lxc"),
    Weak(POINTS, "a marker is believed on any number", Kill("down", "1:before", "down")),
    Weak(MOMENTS, "state files are written in place", Kill("up", "", "up"), "file journal.json"),
)


def trial(place: Place, one: Kill | Weak) -> list[str]:
    """A kill of the product as it is, or weakened."""
    if isinstance(one, Kill):
        return attempt(place, one)
    kill = one.kill
    if one.inside:
        begin(place, kill.run)
        place.hub.ok(*VERBS[kill.run])
        kill = Kill(kill.run, f"{place.hub.made.index(one.inside) + 1}:inside", kill.finish)
    try:
        return attempt(place, kill, slow="no intent" in one.weakening, weakening=one.weakening)
    finally:
        place.hub.weaken = ""


@pytest.mark.slow
@pytest.mark.parametrize("weak", WEAK, ids=str)
def test_a_weakened_product_does_not_survive(campaign, table: Table, weak):
    wrong = campaign[weak]
    assert wrong, "the fault breaks nothing: the test would not see a defect either"
    table.seen_to_fail(weak.fault, weak.weakening, wrong)


@pytest.fixture(scope="module")
def spare():
    """A lab of its own for tests that are no part of the campaign."""
    lab = Lab()
    yield Place(lab, lab.hub("hub"), Decoys.make(lab))
    lab.close()


@pytest.mark.slow
@pytest.mark.parametrize("run", WRITES)
def test_the_points_reach_to_the_last_write(spare, run):
    """One more than counted, and the run ends by itself: no write is left out of the matrix."""
    for number, codes in ((WRITES[run], KILLED), (WRITES[run] + 1, (0,))):
        begin(spare, run)
        assert spare.hub(*VERBS[run], crash=f"{number}:before") in codes, spare.hub.made


@pytest.mark.slow
def test_a_slow_create_that_the_kill_outruns_is_waited_for(spare):
    """The control of the weakened one: `down` waits for the create of a killed `up`, and removes what it made."""
    begin(spare, "up")
    spare.hub.ok("up")
    number = spare.hub.made.index("POST /nodes/pve/lxc") + 1
    assert attempt(spare, Kill("up", f"{number}:inside", "down"), slow=True) == []


def test_a_lease_that_a_run_left_when_all_was_done_goes_with_the_next(spare):
    """There is nothing more to do, and no other machine waits for five minutes."""
    last = f"{WRITES['up']}:before"
    assert attempt(spare, Kill("up", last)) == []
    assert spare.hub.made == ["lease"]


ROOTED = {"root_only": {"features": "nesting=1,keyctl=1", "dev0": "/dev/net/tun"}}
BY_ROOT, BY_TOKEN = "pvesh set /nodes/pve/lxc/110/config", "PUT /nodes/pve/lxc/110/config"
STATUS = "POST /nodes/pve/lxc/110/status"


@pytest.mark.parametrize("point", [f"{BY_ROOT}:before", f"{BY_ROOT}:after", f"{STATUS}/start:before"])
def test_a_run_killed_around_what_only_root_may_set_is_finished(spare, point):
    lab, hub = spare.lab, spare.hub
    begin(spare, "up")
    assert hub("up", crash=point, **ROOTED) in KILLED
    hub.ok("up", **ROOTED)
    config = lab.root.config(110)
    assert (config["features"], config["dev0"]) == ("nesting=1,keyctl=1", "/dev/net/tun")
    assert broken(lab, hub, spare.decoys, OURS) == []
    assert hub("plan", **ROOTED) == 0


@pytest.mark.parametrize(
    "point", [f"{BY_TOKEN}:after", f"{STATUS}/shutdown:before", f"{STATUS}/shutdown:after", f"{STATUS}/start:before"]
)
def test_a_removal_of_a_disk_that_was_killed_is_finished(spare, point):
    lab, hub = spare.lab, spare.hub
    begin(spare, "down")
    lab.root("PUT", "/nodes/pve/lxc/110/config", mp0="local:1,mp=/data")
    assert hub("up", crash=point, allow=("db",)) in KILLED
    hub.ok("up", allow=("db",))
    assert not [key for key in lab.root.config(110) if key.startswith(("mp", "unused"))]
    volumes = lab.root("GET", "/nodes/pve/storage/local/content", content="rootdir")
    assert sum(volume.get("vmid") == 110 for volume in volumes) == 1
    assert broken(lab, hub, spare.decoys, OURS) == []
