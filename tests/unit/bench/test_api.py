"""The API's part of `make bench`: its hub files, its judgement, its tables."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from aihub.reading import load

Bench = Callable[[str], ModuleType]


def test_a_fleet_is_a_valid_hub(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "hub.yml"
    file.write_text(bench("fleet").text(60))
    for target in ("lab", "pve"):
        hub = load.load(file, target=target)
        assert Counter(guest.kind for guest in hub.guests.values()) == {"lxc": 45, "vm": 15}
        assert len({guest.address for guest in hub.guests.values()}) == 60


def test_the_largest_fleet_has_room(bench: Bench) -> None:
    lines = [line for line in bench("fleet").text(1000).splitlines() if line.startswith("  guest-")]
    assert len({line.partition("address: ")[2].partition(",")[0] for line in lines}) == 1000


def fleet(bench: Bench, guests: int, cpu: float, void: str = "") -> object:
    measure, plans = bench("measure"), bench("plans")
    made = plans.Fleet(guests)
    made.race.samples[plans.OURS] = [measure.Sample(1, cpu, void=void)]
    made.race.samples[plans.RAW] = [measure.Sample(1, 0)]
    return made


def test_growth_of_what_is_linear_is_one(bench: Bench) -> None:
    small = [fleet(bench, 10, 0.01), fleet(bench, 100, 0.1)]
    assert bench("plans").growth(*small, fleet(bench, 1000, 1.0)) == pytest.approx(1)
    assert bench("plans").growth(*small, fleet(bench, 1000, 10.0)) == pytest.approx(11)


def test_growth_without_a_good_run_is_no_number(bench: Bench) -> None:
    fleets = [fleet(bench, 10, 0.01), fleet(bench, 100, 0.1, "3 changes pending"), fleet(bench, 1000, 1.0)]
    assert math.isnan(bench("plans").growth(*fleets))


def test_a_void_run_stands_below_its_row(bench: Bench) -> None:
    plans = bench("plans")
    lines = list(plans._table([plans._row(fleet(bench, 10, 0.1, "3 changes pending"))]).lines())
    assert lines[-1] == "    void: aihub: 3 changes pending"


def test_kills_and_faults_are_shown_when_they_were_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = bench("output")
    monkeypatch.setattr(output, "FAULTS", tmp_path / "faults.json")
    output.show_faults(output.faults())
    assert capsys.readouterr().out.splitlines()[-1] == "not run: make test writes it"
    assert output.fault_figures(output.faults()) == []
    rows = [
        {"fault": "killed before a write", "tried": 100, "survived": 100, "weakened": "no journal: an orphan"},
        {"fault": "storage full", "tried": 3, "survived": 2, "weakened": ""},
    ]
    output.FAULTS.write_text(json.dumps(rows))
    output.show_faults(output.faults())
    assert capsys.readouterr().out.splitlines()[-1].split() == ["together", "103", "102"]
    assert [(figure.value, figure.met) for figure in output.fault_figures(output.faults())] == [(1, False), (1, False)]


@pytest.mark.slow
def test_a_small_fleet_is_measured(bench: Bench, tmp_path: Path) -> None:
    api, plans, emulator = bench("api"), bench("plans"), bench("emulator")
    server, hub = emulator.Emulator(tmp_path / "server"), api.hub(tmp_path, 5)
    ballast = b"x" * (200 << 20)  # a child's figure may not hold what its parent holds
    try:
        found = plans._fleet(tmp_path, server, hub, 1)
        row = plans._row(found)
        assert (row["n"], row["void"]) == (1, [])
        # The list, then five guests over four connections: nobody can be quicker.
        assert min(row[plans.RAW], row[plans.OURS], row[plans.WHOLE]) >= 3 * plans.DELAY
        assert 20 < row["command_mib"] < len(ballast) >> 20
        server.ended(server.root("POST", "/nodes/pve/lxc/1000/status/stop"))
        reads = plans.reads_of(hub)
        assert plans._ours(server, hub, reads).void.startswith("1 changes pending")
        server.ended(server.root("POST", "/nodes/pve/lxc/1000/status/start"))
        assert plans._ours(server, hub, reads).void == ""
        assert plans._ours(server, hub, reads[1:]).void == "not the same reads as the raw client"
    finally:
        server.stop()
