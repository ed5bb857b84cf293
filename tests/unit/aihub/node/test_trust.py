"""First contact with a real node."""

from __future__ import annotations

import pytest
from aihub import ssh
from aihub.errors import Conflict, PreconditionFailed
from aihub.node import trust
from aihub.ssh import config as ssh_config

from tests.unit.aihub.hubs import small


def test_a_real_nodes_key_that_changed_is_a_conflict(monkeypatch, state):
    monkeypatch.setattr(ssh, "write", lambda *_: None)
    old, new = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB=="
    ssh_config.pin(state, "node", "192.168.1.10", old)
    monkeypatch.setattr(ssh, "scan", lambda *_: new)
    with pytest.raises(Conflict, match="answers with host key"):
        trust.trust(small(), state, lambda _: True)


def test_a_key_that_nobody_confirms_is_not_trusted(monkeypatch, state):
    monkeypatch.setattr(ssh, "write", lambda *_: None)
    monkeypatch.setattr(ssh, "scan", lambda *_: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==")
    asked: list[str] = []
    with pytest.raises(PreconditionFailed, match="not confirmed"):
        trust.trust(small(), state, lambda text: bool(asked.append(text)))
    assert "SHA256:" in asked[0]
    assert ssh_config.pinned(state, "node") is None
