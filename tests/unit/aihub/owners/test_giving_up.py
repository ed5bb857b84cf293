"""`--allow-destroy vault@GUEST` gives up only what nobody can open: silence is no loss, and a look has no effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import paths
from aihub.errors import PreconditionFailed, Unreachable
from aihub.owners import vault
from aihub.plan import Change, Plan
from aihub.reading import load
from aihub.state.directory import State
from aihub.vault import pending
from aihub.vault.errors import Denied


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run whose store does not answer."""
    state = State(tmp_path / "state")
    state.make()
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    pending.authority(hub, state)
    answers(monkeypatch, Unreachable("no ssh", where="security"))
    return SimpleNamespace(
        hub=hub,
        state=state,
        made=(),
        options=SimpleNamespace(allow_destroy={"vault@security"}),
        screen=SimpleNamespace(say=lambda line: None),
        plan=Plan(),
    )


def answers(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Whoever connects to the store meets an error."""

    @contextmanager
    def connected(*_: object) -> Iterator[None]:
        raise error
        yield

    def no_guest(*_: object, **__: object) -> None:
        raise Unreachable("no ssh", where="security")

    monkeypatch.setattr(vault.vaults, "connected", connected)
    monkeypatch.setattr(vault.ssh, "run", no_guest)


def lost(run: Any) -> Any:
    """What the look says of a store that may be lost."""
    return vault._lost(run, vault.vault_of(run.hub))


def test_a_store_that_only_does_not_answer_is_not_lost(run: Any) -> None:
    run.state.vault_login.write_text("{}")
    with pytest.raises(Unreachable):
        lost(run)


def test_shares_of_an_interrupted_run_stay(run: Any) -> None:
    left = pending.read(run.state)
    assert left is not None
    pending.write(run.state, replace(left, shares=("one", "two", "three"), root_token="root"))
    found = lost(run)
    assert not found.changes
    assert "nothing is given up" in found.warnings[0]


@pytest.mark.parametrize("login", [True, False])
def test_what_nobody_can_open_is_one_change_with_its_loss_named(
    run: Any, login: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if login:
        run.state.vault_login.write_text('{"role_id": "x", "secret_id": "y"}')
        answers(monkeypatch, Denied("permission denied"))
    (change,) = lost(run).changes
    assert (change.subject, change.action, change.identity) == ("vault@security", "delete", "root@node")
    assert "every secret" in change.data_at_risk
    assert run.state.ca.exists(), "a look has no effect"


def test_giving_up_forgets_what_this_machine_knew(run: Any) -> None:
    vault.empty_store(run)
    assert pending.read(run.state) is None
    assert not run.state.ca.exists()


def test_nothing_is_given_up_unasked(run: Any) -> None:
    run.options.allow_destroy = set()
    assert not lost(run).changes


def test_a_store_that_went_with_its_guest_is_refused_before_anything_is_changed(run: Any) -> None:
    run.made, run.options.allow_destroy = ("security",), set()
    run.state.vault_login.write_text("{}")
    with pytest.raises(PreconditionFailed, match="went with the old one"):
        lost(run)
    run.options.allow_destroy = {"vault@security"}
    assert lost(run).changes


def test_a_store_whose_guest_an_edit_would_make_anew_says_which_and_how_it_keeps_its_data(run: Any) -> None:
    run.made, run.options = ("security",), SimpleNamespace(allow_destroy=frozenset())
    run.state.vault_login.write_text("{}")
    gone = Change("security", "delete", "guests", "token", "VMID 310 is removed: its disk is on a", data_at_risk="all")
    run.plan = Plan((gone,), warnings=("guest security: root moves it", "guest db: something else"))
    with pytest.raises(PreconditionFailed, match="its disk is on a; with it would go every secret") as refused:
        lost(run)
    assert refused.value.hint == (
        "take the edit back; root moves it; or to begin anew with fresh secrets: "
        "aihub up --allow-destroy security --allow-destroy vault@security"
    )
