"""What a plan starts or restarts is compared once it runs: that it comes up slowly is no more than was agreed to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aihub.errors import Conflict
from aihub.owners import guests, insides
from aihub.plan import Change, Plan, require_agreed
from aihub.proxmox.state import ActualGuests

AFTER = Change(
    "app", "configure", "insides", "guest", "unit docker.service is activating, not active", parts=("docker",)
)


def looked(monkeypatch: pytest.MonkeyPatch, change: Change) -> Plan:
    """The plan over guests and their insides, which look as they should."""
    run: Any = SimpleNamespace(hub=None, state=None, running=lambda: ["app"])
    monkeypatch.setattr(guests, "read", lambda run: ActualGuests({}))
    monkeypatch.setattr(guests, "_plan", lambda run: Plan((change,)))
    monkeypatch.setattr(guests, "_present", lambda run: {})
    monkeypatch.setattr(guests.ssh, "relocate", lambda state, addresses: ())
    monkeypatch.setattr(insides.probe, "read", lambda hub, state, names: {})
    monkeypatch.setattr(insides.probe, "undelivered", lambda hub, names, waiting: [])
    monkeypatch.setattr(insides, "waiting", lambda run: {})
    monkeypatch.setattr(insides, "_compared", lambda run: Plan())
    monkeypatch.setattr(insides.held, "in_force", lambda hub, state: {})
    monkeypatch.setattr(insides.data_moves, "look", lambda run, undeclared: ())
    return Plan((*guests.look(run).changes, *insides.look(run).changes))


@pytest.mark.parametrize(("action", "restart"), [("update", True), ("start", False)])
def test_what_starts_is_compared_later(monkeypatch: pytest.MonkeyPatch, action: Any, restart: bool) -> None:
    agreed = looked(monkeypatch, Change("app", action, "api", "token", "memory differs", restart=restart))
    require_agreed(agreed, [AFTER])


def test_what_goes_on_running_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    agreed = looked(monkeypatch, Change("app", "update", "guests", "token", "tags differ"))
    with pytest.raises(Conflict, match="is activating"):
        require_agreed(agreed, [AFTER])
