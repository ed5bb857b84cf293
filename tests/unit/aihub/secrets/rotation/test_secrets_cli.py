"""`aihub secrets` before anything is contacted: wrong names, missing options, another run."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub.errors import InvalidInput, Locked, PreconditionFailed
from aihub.options import Options
from aihub.paths import ROOT
from aihub.reading import load
from aihub.state import lock
from aihub.state.directory import State
from aihub.verbs.secrets import forget, kit, revoke, rotate, unseal
from aihub.verbs.secrets import set as set_

from tests.vault.local_vault import small_hub, with_kept

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


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """A hub whose notes need a secret that a person gives, and that person's standard input."""
    hub = with_kept(small_hub())
    monkeypatch.setattr(load, "load", lambda *_, **__: hub)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


KEY = "notes@private-ai/api_key"


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        (KEY, b"", "nothing was given"),
        (KEY, b"\n", "nothing was given"),
        (KEY, b"a\0b", "NUL"),
        (KEY, b"x" * (1 << 20), "longer than 64 KiB"),
        ("notes@private-ai/salt", b"value", "made by aihub"),
        ("notes@private-ai/api", b"value", "no secret called"),
        ("", b"value", "no secret called"),
    ],
)
def test_what_cannot_be_given_is_refused_before_anything_is_contacted(
    name: str, data: bytes, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, data)
    with pytest.raises(InvalidInput, match=why):
        set_.run(Options(hub=HUB, lab="none", only=(name,)))
    assert not (tmp_path / "state").exists()


def test_only_what_was_given_can_be_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, b"")
    with pytest.raises(InvalidInput, match="made by aihub"):
        forget.run(Options(hub=HUB, lab="none", only=("notes@private-ai/salt",)))
    assert not (tmp_path / "state").exists()


def test_a_secret_that_is_given_or_never_replaced_cannot_be_rotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, b"")
    for name, why in ((KEY, "aihub secrets set"), ("notes@private-ai/salt", "never replaced")):
        with pytest.raises(InvalidInput, match=why):
            rotate.run(Options(hub=HUB, lab="none", only=(name,)))
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("verb", [set_, forget])
def test_giving_and_forgetting_wait_for_nobody(verb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, b"value")
    state = State.of("small", "lab", "none")
    with lock.held(state.lock, "up"), pytest.raises(Locked, match="up"):
        verb.run(Options(hub=HUB, lab="none", only=(KEY,)))


def test_on_a_terminal_it_is_typed_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def unseen(question: str) -> str:
        asked.append(question)
        return "typed"

    given(monkeypatch, b"not read from here")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    run: Any = SimpleNamespace(screen=SimpleNamespace(ask_secret=unseen))
    assert set_._typed(run, KEY) == b"typed"
    assert asked == [f"Value of {KEY}: "]
