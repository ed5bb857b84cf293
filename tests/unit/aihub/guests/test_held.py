"""Who is held at its former version is left as it is, until what is declared of it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.guests import held, probe
from aihub.guests.probe import Inside
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.state.directory import State

HUB = load.load(paths.DEFAULT_HUB, target="lab")
NAME = "chroma@private-ai"


@pytest.fixture
def content(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """What guests are to be made of, changed by the tests."""
    found = {guest: {f"stack/{one.stack.name}": "1" for one in HUB.on(guest)} for guest in HUB.guests}

    def desired(_hub: Hub, _state: State) -> Any:
        return found

    monkeypatch.setattr(held, "desired", desired)
    monkeypatch.setattr(probe, "desired", desired)
    monkeypatch.setattr(probe, "made_from", lambda *_: {})
    return found


def differing(state: State, *gone: str) -> list[str]:
    """What the plan changes on a guest where every stack is of another version, or gone."""
    there = {f"stack/{one.stack.name}": "0" for one in HUB.on("private-ai") if one.stack.name not in gone}
    inside = Inside("private-ai", manifest={"desired": there})
    changes, _ = probe.plan(HUB, state, {"private-ai": inside})
    return [part for change in changes if change.owner == "insides" for part in change.parts]


def test_it_is_not_compared_while_its_folder_has_what_failed(
    tmp_path: Path, content: dict[str, dict[str, str]]
) -> None:
    state = State(tmp_path)
    assert "stack/chroma" in differing(state)
    held.hold(HUB, state, HUB.instance(NAME), "it did not start", "now")
    assert held.in_force(HUB, state)[NAME].why == "it did not start"
    assert "stack/chroma" not in differing(state)
    assert "stack/litellm" in differing(state)
    assert "stack/chroma" in differing(state, "chroma"), "on a guest that is made anew it begins anew"
    content["private-ai"]["stack/chroma"] = "2"
    assert not held.in_force(HUB, state)
    assert "stack/chroma" in differing(state)


def test_it_is_released_by_name(tmp_path: Path, content: dict[str, dict[str, str]]) -> None:
    state = State(tmp_path)
    for name in (NAME, "postgres@db"):
        held.hold(HUB, state, HUB.instance(name), "why", "now")
    held.release(state, NAME)
    assert list(held.in_force(HUB, state)) == ["postgres@db"]
    held.release(state, "postgres@db")
    assert not held.in_force(HUB, state)
    assert not list(tmp_path.iterdir())
