"""The store's entries in a plan: who is to be stopped for them."""

from __future__ import annotations

import pytest
from aihub import paths
from aihub.model.resolved import Hub
from aihub.owners import entries
from aihub.reading import load
from aihub.secrets.store import ensure

from tests.unit.aihub.memory import Memory


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


def test_who_gets_a_login_at_another_provider_is_stopped_and_nobody_else(hub: Hub) -> None:
    store = Memory()
    ensure(hub, store)
    assert entries.moved(entries.look(hub, hub.vault, store, ())) == []
    pair = next(one for one in hub.pairs if one.entry and one.entry.instance == "litellm@public-ai")
    store.write(pair.entry.path, {"user": "of_another", "password": "one"}, cas=store.read(pair.entry.path).version)
    looked = list(entries.look(hub, hub.vault, store, ()))
    assert [change.action for change in looked] == ["update"]
    assert entries.moved(looked) == ["litellm@public-ai"]
