"""Delivery asks a guest once, for exactly its own files, and tells names only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aihub import deliver, load, paths
from aihub.model.resolved import Hub
from aihub.secretstore import SecretStore


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


def test_a_guest_gets_its_own_secrets_in_memory(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def ask(_state: object, guest: str, request: dict[str, Any]) -> dict[str, Any]:
        assert guest == "db"
        asked.append(request)
        return {"changed": ["/run/hub", "/run/hub/postgres", "/run/hub/postgres/superuser_password"]}

    monkeypatch.setattr(deliver, "ask", ask)
    state = paths.State(tmp_path)
    store = SecretStore(state)
    assert deliver.deliver(hub, state, "db", store) == ["/run/hub/postgres/superuser_password"]
    (request,) = asked
    assert request["memory"] == "/run"
    files = {one["path"]: one for one in request["wanted"]}
    assert files["/run/hub"] == {"path": "/run/hub", "mode": "0711"}
    assert files["/run/hub/postgres"]["mode"] == "0500"
    password = files["/run/hub/postgres/superuser_password"]
    assert (password["mode"], password["owner"]) == ("0400", "1000:1000")
    assert password["content"] == store.get("postgres@db", "superuser_password")
    assert not any("verify" in path for path in files)


def test_a_guest_without_instances_is_not_asked(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "ask", lambda *_: pytest.fail("nothing to deliver"))
    state = paths.State(tmp_path)
    assert deliver.deliver(hub, state, "security", SecretStore(state)) == []


def test_every_secret_of_the_hub_gets_a_value(hub: Hub, tmp_path: Path) -> None:
    store = SecretStore(paths.State(tmp_path))
    deliver.generate(hub, store)
    assert all(len(store.get(ref.instance, ref.name)) == ref.length for ref in hub.secrets)
