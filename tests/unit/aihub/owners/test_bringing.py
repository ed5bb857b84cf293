"""A secret that was given just now reaches its guest at once, or it is said when it will."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aihub.guests.probe import Inside
from aihub.model.resolved import Hub
from aihub.owners import secrets
from aihub.secrets import given

from tests.vault.local_vault import small_hub, with_kept

DONE = {"desired": {"vault_agent": "now"}}


@pytest.fixture
def hub() -> Hub:
    return with_kept(small_hub())


def brought(hub: Hub, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[Any]]:
    """What is said, and what was waited for, when a secret of that guest was given and then taken back."""
    run: Any = SimpleNamespace(hub=hub, state=None)
    waited: list[Any] = []
    monkeypatch.setattr(secrets.probe, "read", lambda _hub, _state, names: dict.fromkeys(names, inside))
    monkeypatch.setattr(secrets.render, "desired", lambda *_: {"private-ai": {"vault_agent": "now"}})
    monkeypatch.setattr(secrets.agent, "wait", lambda _state, *what: waited.append(what))
    monkeypatch.setattr(secrets.agent, "wait_gone", lambda _state, *what: waited.append(what))
    ref = given.chosen(hub, "notes@private-ai/api_key")
    said = secrets.bring(run, ref, 3)
    assert secrets.take_back(run, ref) == said
    return said, waited


def test_its_agent_is_waited_for(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = given.chosen(hub, "notes@private-ai/api_key").path
    said, waited = brought(hub, Inside("private-ai", manifest=DONE), monkeypatch)
    assert (said, waited) == ("", [("private-ai", {path: 3}), ("private-ai", path)])


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        (Inside("private-ai", error="no ssh"), "follows when it runs"),
        (Inside("private-ai", manifest={"desired": {"vault_agent": "before"}}), "aihub up"),
        (Inside("private-ai"), "aihub up"),
    ],
)
def test_an_agent_that_cannot_know_yet_is_not_waited_for(
    hub: Hub, inside: Inside, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, waited = brought(hub, inside, monkeypatch)
    assert words in said
    assert waited == []
