"""`aihub secrets` before anything is contacted: wrong names, missing options, another run."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub.errors import InvalidInput, Locked, PreconditionFailed
from aihub.options import Options
from aihub.paths import ROOT
from aihub.state import lock
from aihub.state.directory import State
from aihub.verbs.secrets import kit, revoke, rotate, unseal

HUB = ROOT / "inventory" / "hub.yml"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIHUB_STATE", str(tmp_path / "state"))


@pytest.mark.parametrize("names", [("canary@monitoring/postgres_mian",), ("other@hub",), ("canary@monitoring", "x/y")])
def test_a_name_of_no_secret_writes_nothing(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        rotate.run(Options(hub=HUB, lab="none", only=names))
    assert not (tmp_path / "state").exists()


def test_nothing_named_is_nothing_done(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing was named"):
        rotate.run(Options(hub=HUB, lab="none"))
    assert not (tmp_path / "state").exists()


def test_an_unknown_guest_cannot_be_revoked(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no guest nobody"):
        revoke.run(Options(hub=HUB, lab="none", only=("nobody",)))
    assert not (tmp_path / "state").exists()


def test_a_second_rotation_is_locked_out() -> None:
    state = State.of("aihub", "lab", "none")
    with lock.held(state.lock, "secrets rotate"), pytest.raises(Locked, match="secrets rotate"):
        rotate.run(Options(hub=HUB, lab="none", every=True))


@pytest.mark.parametrize("options", [{"kit": Path("a")}, {"identity": Path("b")}])
def test_a_kit_and_its_key_go_together(options: dict[str, Path]) -> None:
    with pytest.raises(InvalidInput):
        unseal.run(Options(hub=HUB, lab="none", **options))  # type: ignore[arg-type]


def test_putting_a_kit_back_needs_a_key() -> None:
    with pytest.raises(InvalidInput):
        kit.run(Options(hub=HUB, lab="none", kit=Path("a")))


def test_without_a_kit_there_is_nothing_to_show() -> None:
    with pytest.raises(PreconditionFailed, match="no recovery kit"):
        kit.run(Options(hub=HUB, lab="none"))
