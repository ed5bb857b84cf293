"""The recovery kit has the keys of all copies, as long as the store has them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.reading import load
from aihub.secrets import copies, kits
from aihub.state.directory import State

from tests.unit.aihub.memory import Memory

HUB = load.load(paths.DEFAULT_HUB, target="lab")


@pytest.fixture
def store() -> Any:
    found: Any = Memory()
    for copier in HUB.copiers.values():
        found.write(f"{copier.folder}/password", {"value": f"key of {copier.name}"}, 0)
    return found


def test_every_repository_has_its_key_in_the_kit(tmp_path: Path, store: Any) -> None:
    state = State(tmp_path)
    assert copies.differ(HUB, state, store)
    copies.keep(HUB, state, store)
    assert not copies.differ(HUB, state, store)
    told = json.loads(kits.contents(HUB, state)["vault/copies.json"])
    assert told["hub/db/backup/password"] == {
        "repository": "backup-db-own.restic.hub.home.arpa",
        "key": "key of backup@db",
    }
    assert len(told) == len(HUB.copiers)
    assert state.copies.stat().st_mode & 0o077 == 0
    assert set(copies.paths(state)) == set(told)


def test_a_key_stays_as_long_as_the_store_keeps_it(tmp_path: Path, store: Any) -> None:
    state, without = State(tmp_path), replace(HUB, copiers={})
    copies.keep(HUB, state, store)
    assert not copies.differ(without, state, store), "the copies are kept, and so is their key"
    for copier in HUB.copiers.values():
        store.destroy(f"{copier.folder}/password")
    assert copies.differ(without, state, store)
    copies.keep(without, state, store)
    assert not state.copies.exists()
