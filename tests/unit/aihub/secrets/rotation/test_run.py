"""In which order things are replaced: what keeps somebody out is published last and waited for first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from aihub.model.resolved import RECONCILE_ROLE, Pair
from aihub.secrets.rotation import catalog, run
from aihub.secrets.rotation.catalog import Rotatable

SHORT = Pair("keyring@a", "reader", "p/1", None, 90, "single", "5s")
OTHER = Pair("ledger@a", "reader", "p/2", None, 90, "pair")
KEY = Pair("keyring@a", RECONCILE_ROLE, "p/3", None, 90, "single")


@dataclass
class Flight:
    """One that says what is done to it."""

    name: str
    log: list[str]

    def publish(self) -> Mapping[str, int]:
        self.log.append(f"publish {self.name}")
        return {self.name: 1}

    def finish(self) -> None:
        self.log.append(f"finish {self.name}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    pairs = {"short": SHORT, "other": OTHER, "key": KEY}
    items = tuple(Rotatable(name, "pair", "desk" if name != "key" else "a", 90, of=of) for name, of in pairs.items())
    monkeypatch.setattr(catalog, "everything", lambda hub: items)
    monkeypatch.setattr(run, "_replacement", lambda reach, job: Flight(job.item.name, found))
    monkeypatch.setattr(run, "pending", lambda *_: [])
    reach: Any = SimpleNamespace(
        hub=None,
        state=None,
        grace=0.0,
        vault=SimpleNamespace(read=lambda path: None),
        wait=lambda guest, versions: found.append(f"wait {guest}"),
    )
    assert not [one.error for one in run.rotate(reach, items) if one.error]
    return found


def test_who_is_kept_out_by_a_change_waits_for_nobody_elses(log: list[str]) -> None:
    assert log.index("publish other") < log.index("publish short")
    assert log[log.index("publish short") + 1] == "wait desk"


def test_a_provider_with_one_key_of_ours_knows_the_new_one_before_it_is_asked_for_anything(log: list[str]) -> None:
    assert log[:3] == ["publish key", "wait a", "finish key"]
