"""Of two `up` at once one wins, and the other ends with 5 and names the winner: on one machine by the lock, on two by
the lease on the node.

The lease's script runs here instead of on a node (stand_ins.py stands in for ssh); all else is what a person runs.
"""

from __future__ import annotations

import getpass
import re
import socket
from dataclasses import dataclass

import pytest

from tests.contract.campaign import Campaign, Place, selected
from tests.contract.fault_table import WHOLE, Table, table
from tests.contract.provision_lab import Hub

__all__ = ["table"]
RACES = 200 if WHOLE else 4
BATCHES = 20 if WHOLE else 2
ROWS = {"lock": "two `up` at once on one machine", "lease": "two `up` at once on two machines"}
WEAKENINGS = {"lock": "the lock is not taken", "lease": "the lease is taken from whoever has it"}
LOSES_WITHIN = 5.0  # seconds; some of it is the start of two processes on a busy machine


@dataclass(frozen=True)
class Races:
    """Some races of one kind."""

    kind: str
    batch: int
    times: int = RACES // BATCHES
    weakening: str = ""

    def __str__(self) -> str:
        return f"{self.kind}-{self.batch}"


def run_races(place: Place, races: Races) -> list[str]:
    """What was not as it must be in any of the races."""
    hubs = [place.hub, place.hub]
    place.hub.write({})
    place.hub.introduce()
    if races.kind == "lease":
        hubs = [place.hub, place.lab.hub("other")]
    place.hub.ok("up")
    hubs[1].ok("up")
    return [wrong for _ in range(races.times) for wrong in race(place, hubs, races)]


def race(place: Place, hubs: list[Hub], races: Races) -> list[str]:
    """Both start at once; who gets in stays in until the other has ended."""
    outputs = [place.hub.directory / f"racer-{n}.txt" for n in range(2)]
    jobs = [
        hub.job("up", race=races.kind, weaken=races.weakening, limit=3 if races.weakening else 60)
        | {"output": str(output), "made": str(output.with_suffix(".json"))}
        for hub, output in zip(hubs, outputs, strict=True)
    ]
    first, second = place.lab.run(*jobs)
    if first.late and second.late:
        return ["both got in"]
    if sorted((first.code, second.code)) != [0, 5]:
        return [f"they ended with {first.code} and {second.code}: " + " / ".join(o.read_text()[-300:] for o in outputs)]
    winner, loser = (first, second) if first.code == 0 else (second, first)
    said = " ".join(outputs[0 if loser is first else 1].read_text().split())
    named = re.escape(f"aihub up (pid {winner.pid} of {getpass.getuser()}@{socket.gethostname()}, since ")
    wrong = [] if re.search(named + r"\d{4}-\d\d-\d\dT[0-9:]{8}", said) else [f"the winner is not named: {said}"]
    wrong += [] if loser.seconds < LOSES_WITHIN else [f"the loser took {loser.seconds:.1f} s"]
    wrong += [] if "next: " in said and "Traceback" not in said else [f"no next step: {said}"]
    wrong += ["the lease was not given back"] if place.hub.lease.exists() else []
    return wrong


@pytest.fixture(scope="module")
def campaign(request):
    """All races whose tests were selected."""
    found = Campaign(selected(request, "races"), run_races)
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.parametrize("races", [Races(kind, n) for kind in ROWS for n in range(BATCHES)], ids=str)
def test_one_wins_and_the_other_names_it(campaign, table: Table, races):
    wrong = campaign[races]
    table.tried(ROWS[races.kind], wrong, races.times)
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("races", [Races(kind, -1, 1, name) for kind, name in WEAKENINGS.items()], ids=str)
def test_without_it_both_get_in(campaign, table: Table, races):
    wrong = campaign[races]
    assert wrong, "the race breaks nothing: the test would not see a defect either"
    table.seen_to_fail(ROWS[races.kind], races.weakening, wrong)
