"""A hub's name and domain do not change in place: that is refused before anything is written, with the way there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub.errors import PreconditionFailed
from aihub.model.resolved import Hub
from aihub.owners import identity
from aihub.state.directory import State
from aihub.vault import certificates

from tests.unit.aihub.hubs import FILE, small


def named(name: str = "my-hub", domain: str = "hub.home.arpa", *, given: bool = True) -> Hub:
    own = {"name": name, "domain": domain, **({"id": FILE["hub"]["id"]} if given else {})}  # type: ignore[index]
    return small(hub=own)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIHUB_STATE", str(tmp_path))
    return tmp_path


def kept(hub: Hub, target: str, lab: str = "") -> State:
    state = State.of(hub.name, target, lab)
    state.make()
    identity.keep(hub, state)
    return state


def place(*, runs: bool) -> Any:
    return SimpleNamespace(title="this place", is_of=lambda name: runs)


def test_another_name_on_the_same_node_is_refused_by_the_id(home: Path) -> None:
    kept(named(), "pve")
    other = named("renamed")
    with pytest.raises(PreconditionFailed, match="holds the hub my-hub, which can't be called renamed") as found:
        identity.require_name(other, State.of("renamed", "pve"), place(runs=False))
    assert "put `name: my-hub` back" in found.value.hint
    assert [path.name for path in home.iterdir()] == ["my-hub-pve"], "looking for it leaves nothing"
    identity.require_name(named(), State.of("my-hub", "pve"), place(runs=False))


def test_a_hub_with_an_id_of_its_own_may_stand_beside_another(home: Path) -> None:
    kept(named(), "pve")
    other = small(hub={"name": "other", "domain": "other.home.arpa", "id": "f" * 16})
    identity.require_name(Hub(**{**vars(other), "id": "f" * 16}), State.of("other", "pve"), place(runs=False))


@pytest.mark.parametrize("runs", [True, False])
def test_a_lab_that_runs_holds_one_hub(home: Path, runs: bool) -> None:
    """Where no id is written it follows from the name; a lab that was taken away by force holds none."""
    kept(named(given=False), "lab", "shared")
    state = State.of("renamed", "lab", "shared")
    if not runs:
        identity.require_name(named("renamed", given=False), state, place(runs=False))
        return
    with pytest.raises(PreconditionFailed, match="this place holds the hub my-hub"):
        identity.require_name(named("renamed", given=False), state, place(runs=True))


def test_another_domain_is_refused_with_what_rests_on_it(home: Path) -> None:
    state = kept(named(), "pve")
    identity.require_domain(named(), state)
    with pytest.raises(PreconditionFailed, match=r"from hub.home.arpa to other.home.arpa in place") as found:
        identity.require_domain(named(domain="other.home.arpa"), state)
    assert "2 guests" in found.value.what
    assert "root certificate" not in found.value.what, "this hub has none"
    assert "put `domain: hub.home.arpa` back" in found.value.hint
    identity.forget(state)
    identity.require_domain(named(domain="other.home.arpa"), state)


def test_the_root_certificate_knows_the_domain_of_a_hub_from_before(home: Path) -> None:
    state = State.of("my-hub", "pve")
    state.make()
    state.ca.write_text(certificates.new_root("my-hub", "hub.home.arpa").certificate)
    assert certificates.domain_of(state.ca.read_text()) == "hub.home.arpa"
    identity.require_domain(named(), state)
    with pytest.raises(PreconditionFailed, match="its root certificate, which vouches for no other names"):
        identity.require_domain(named(domain="other.home.arpa"), state)
