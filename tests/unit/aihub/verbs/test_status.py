"""`aihub status` says which copies are late, not whole, or not known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import paths
from aihub.backup import listing
from aihub.backup.listing import Copies, Copy
from aihub.reading import load
from aihub.verbs import status

HUB = load.load(paths.DEFAULT_HUB, target="lab")


def told(monkeypatch: pytest.MonkeyPatch, hours: float | None, **changes: str) -> list[str]:
    made = () if hours is None else (Copy("1", datetime.now(UTC) - timedelta(hours=hours), 1, 1, aside=False),)
    monkeypatch.setattr(listing, "look", lambda _hub, _state, wanted: [Copies(wanted[0], made, **changes)])
    run: Any = SimpleNamespace(hub=HUB, state=None)
    return list(status._copies(run))


def test_copies_of_last_night_are_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, 1) == []


@pytest.mark.parametrize(
    ("hours", "changes", "said"),
    [
        (50, {}, "late is the copy of "),
        (None, {}, "not copied yet: "),
        (1, {"reading": "2026-11-29 reading failed: a pack is gone"}, "reading failed: a pack is gone"),
        (None, {"error": "no ssh"}, "not known: no ssh"),
    ],
)
def test_what_is_wrong_with_them_is_said(
    monkeypatch: pytest.MonkeyPatch, hours: float | None, changes: dict[str, str], said: str
) -> None:
    (line,) = told(monkeypatch, hours, **changes)
    assert said in line


def test_a_hub_without_copies_asks_nobody() -> None:
    run: Any = SimpleNamespace(hub=replace(HUB, copiers={}), state=None)
    assert list(status._copies(run)) == []
