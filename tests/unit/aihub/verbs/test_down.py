"""`aihub down` on a node asks before it does what can't be taken back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aihub.errors import PreconditionFailed
from aihub.owners import hub
from aihub.owners.run import Run
from aihub.plan import Plan
from aihub.verbs import down

from tests.unit.aihub.owners.test_resets import RESTART, run

__all__ = ["run"]


@pytest.fixture
def removed(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    done: list[Plan] = []
    gone = Plan((replace(RESTART, action="delete", restart=False),))
    monkeypatch.setattr(hub, "removal", lambda run, patience: gone)
    monkeypatch.setattr(hub, "remove", lambda run, plan: done.append(plan))
    monkeypatch.setattr(down, "find_target", lambda run: None)
    monkeypatch.setattr(down, "take_lease", lambda run: None)
    run.options = replace(run.options, yes=True, allow_destroy=frozenset({"private-ai"}))
    return done


def test_a_card_that_may_not_come_back_is_asked_for_beside_the_data(run: Run, removed: list[Plan]) -> None:
    with pytest.raises(PreconditionFailed, match="does not come back from every reset"):
        down._on_a_node(run)
    assert removed == []
    run.options = replace(run.options, allow_gpu_reset=True)
    down._on_a_node(run)
    assert len(removed) == 1


def test_data_is_asked_for_whatever_is_said_of_a_card(run: Run, removed: list[Plan]) -> None:
    run.options = replace(run.options, allow_destroy=frozenset(), allow_gpu_reset=True)
    with pytest.raises(PreconditionFailed, match="data of private-ai would be lost"):
        down._on_a_node(run)
    assert removed == []
