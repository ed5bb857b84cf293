"""`--allow-destroy vault@GUEST` gives up only what nobody can open: silence is no loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import paths
from aihub.errors import Unreachable
from aihub.reading import load
from aihub.state.directory import State
from aihub.steps import secrets
from aihub.vault import pending


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run whose vault does not answer, and whose guest is not there."""

    @contextmanager
    def silent(*_: object) -> Iterator[None]:
        raise Unreachable("no ssh", where="security")
        yield

    def no_guest(*_: object, **__: object) -> None:
        raise Unreachable("no ssh", where="security")

    monkeypatch.setattr(secrets.vaults, "connected", silent)
    monkeypatch.setattr(secrets.ssh, "run", no_guest)
    state = State(tmp_path / "state")
    state.make()
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    pending.authority(hub, state)
    return SimpleNamespace(hub=hub, state=state, options=SimpleNamespace(allow_destroy={"vault@security"}))


def test_a_vault_that_only_does_not_answer_keeps_our_login(run: Any) -> None:
    run.state.vault_login.write_text("{}")
    with pytest.raises(Unreachable):
        secrets.give_up(run)
    assert run.state.vault_login.exists()
    assert run.state.ca.exists()


def test_shares_of_an_interrupted_run_stay(run: Any) -> None:
    left = pending.read(run.state)
    assert left is not None
    pending.write(run.state, replace(left, shares=("one", "two", "three"), root_token="root"))
    secrets.give_up(run)
    assert pending.read(run.state) is not None
    assert run.state.ca.exists()


def test_without_login_and_shares_everything_begins_anew(run: Any) -> None:
    secrets.give_up(run)
    assert pending.read(run.state) is None
    assert not run.state.ca.exists()


def test_nothing_is_given_up_unasked(run: Any) -> None:
    run.options.allow_destroy = set()
    secrets.give_up(run)
    assert run.state.ca.exists()
