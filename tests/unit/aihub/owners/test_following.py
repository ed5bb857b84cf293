"""The store's guest gets another address only while our login can be made to work from there as well."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import paths, ssh
from aihub.errors import PreconditionFailed, Unreachable
from aihub.owners import vault
from aihub.plan import Change, Plan
from aihub.reading import load
from aihub.state.directory import State
from aihub.vault.desired import vault_of

HUB = load.load(paths.DEFAULT_HUB, target="lab")
GUEST = vault_of(HUB).guest
OLD, NEW = "10.99.0.7", str(GUEST.address)
MOVE = Plan((Change(GUEST.name, "update", "guests", "token", "net0.ip differs"),))


class Store:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def put(self, path: str, data: dict[str, Any]) -> None:
        self.told.append((path, data))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that has looked: the store's guest stands at its old address, and the plan moves it."""
    monkeypatch.setattr(State, "control", property(lambda self: tmp_path / "c"))
    state, store = State(tmp_path / "state"), Store()
    state.make()
    state.vault_login.write_text("{}")
    ssh.write(HUB, state, ssh.Lab("none"))
    ssh.relocate(state, {GUEST.name: OLD})
    return SimpleNamespace(hub=HUB, state=state, plan=MOVE, store=store, vault=lambda: store, changed=False)


def test_our_login_works_from_both_addresses_before_the_guest_goes(run: Any) -> None:
    vault.require_login_there(run)
    vault.follow(run)
    both = [f"{OLD}/32", f"{NEW}/32"]
    settings = {"secret_id_bound_cidrs": both, "token_bound_cidrs": both}
    assert run.store.told == [("auth/approle/role/hub-operator", settings)]
    assert run.changed


@pytest.mark.parametrize("case", ["it stays", "nobody moves it", "there is no login yet"])
def test_nothing_is_said_to_a_store_that_stays(run: Any, case: str) -> None:
    if case == "it stays":
        ssh.relocate(run.state, {GUEST.name: NEW})
    elif case == "nobody moves it":
        run.plan = Plan()
    else:
        run.state.vault_login.unlink()
    vault.require_login_there(run)
    vault.follow(run)
    assert run.store.told == []
    assert not run.changed


def test_a_silent_store_is_not_moved(run: Any) -> None:
    def silent() -> None:
        raise Unreachable("connection refused")

    run.vault = silent
    with pytest.raises(PreconditionFailed, match="works from the old address of") as caught:
        vault.require_login_there(run)
    assert "put the old address back" in caught.value.hint
