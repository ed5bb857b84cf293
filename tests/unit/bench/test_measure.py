"""The arithmetic of `make bench`."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "bench" / "measure.py"


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_measure", SOURCE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_ratios_are_paired_inside_a_round(measure: ModuleType) -> None:
    slow = [measure.Sample(w, 0) for w in (2.0, 20.0, 2.0)]
    floor = [measure.Sample(w, 0) for w in (1.0, 10.0, 1.0)]
    assert measure.Race({"slow": slow, "floor": floor}).ratio("slow", "floor") == 2.0


def test_a_void_run_counts_nowhere(measure: ModuleType) -> None:
    race = measure.Race({"a": [measure.Sample(1, 0), measure.Sample(0.1, 0, void="changed on db")]})
    assert race.median("a") == 1.0
    assert race.rows("a")[0]["n"] == 1
    assert race.rows("a")[0]["void"] == ["changed on db"]


def test_without_a_good_run_no_goal_is_met(measure: ModuleType) -> None:
    race = measure.Race({"a": [measure.Sample(1, 0, void="exit code 1")]})
    assert math.isnan(race.median("a"))
    assert not measure.Figure("a", race.median("a"), "s", 5).met
    assert not measure.Figure("a", race.median("a"), "x", 5, most=False).met


def test_a_goal_says_its_direction(measure: ModuleType) -> None:
    assert measure.Figure("f", 3.0, "x", 4).met
    assert not measure.Figure("f", 3.0, "x", 15, most=False).met
    assert measure.Figure("f", 3.0, "x", 15, most=False).goal == "at least 15 x"


def test_variants_take_turns_after_one_rehearsal(measure: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    variants = [
        measure.Variant(name, ["sh", "-c", f"echo {name} >> {log}"], measure.ended_well, most=most)
        for name, most in (("a", 1000), ("b", 1))
    ]
    race = measure.Race.of(variants, 2, tmp_path)
    assert log.read_text().split() == ["a", "b", "a", "b", "a"]
    assert (len(race.good("a")), len(race.good("b"))) == (2, 1)


def test_a_program_that_fails_is_void_and_says_why(measure: ModuleType, tmp_path: Path) -> None:
    bad = measure.Variant("bad", ["sh", "-c", "echo no route >&2; exit 4"], measure.ended_well)
    sample = measure.run_once(bad, tmp_path, lambda: 0.0)
    assert sample.void == "exit code 4: no route"
