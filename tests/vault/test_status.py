"""The look at the vault says what is wrong and what to do next, in every state."""

from __future__ import annotations

import pytest
from aihub.secrets import enrol, kits
from aihub.vault import bringup
from aihub.vault.status import status

from .local_vault import OTHER, Server

pytestmark = pytest.mark.slow


def test_each_state_of_a_vault_is_told(fresh: Server) -> None:
    to = kits.recipients(fresh.hub, fresh.state, "lab")
    vault = fresh.vault()
    new = status(fresh.hub, fresh.state, to, vault)
    assert (new.initialised, new.sealed, new.hint) == (False, True, "aihub up")
    assert new.kit_stale == "there is no recovery kit"
    with pytest.raises(RuntimeError):
        fresh.bring_up(seal=_fail)
    half = status(fresh.hub, fresh.state, to, vault)
    assert half.unfinished
    fresh.bring_up()
    enrol_one(fresh)
    well = status(fresh.hub, fresh.state, to, vault)
    assert (well.error, well.warnings, well.unfinished, well.kit_stale) == ("", (), False, "")
    assert well.version.startswith("1." if OTHER else "2.")
    assert well.kit is not None
    assert well.kit.proven
    assert [(one.guest, one.present, one.secret_ids) for one in well.logins] == [
        ("db", True, 1), ("private-ai", True, 0), ("public-ai", True, 0)
    ]  # fmt: skip
    login = fresh.state.vault_login.read_text()
    fresh.state.vault_login.unlink()
    assert "no login" in status(fresh.hub, fresh.state, to, vault).error
    fresh.state.vault_login.write_text(login)
    assert "vault/operator.json changed" not in status(fresh.hub, fresh.state, to, vault).kit_stale
    fresh.stop()
    silent = status(fresh.hub, fresh.state, to, vault)
    assert "does not answer" in silent.error
    assert silent.sealed is None


def test_a_sealed_one_is_told_with_the_next_command(fresh: Server) -> None:
    vault = fresh.bring_up()
    vault.put_policy("hub-x", 'path "sys/seal" { capabilities = ["update", "sudo"] }')
    vault.put_approle("hub-x", {"token_policies": ["hub-x"]})
    sealer = fresh.vault()
    sealer.login(vault.role_id("hub-x"), vault.secret_id("hub-x").value)
    sealer.seal()
    found = status(fresh.hub, fresh.state, kits.recipients(fresh.hub, fresh.state, "lab"), vault)
    assert (found.initialised, found.sealed, found.hint) == (True, True, "aihub secrets unseal")
    bringup.unseal(vault, fresh.node_shares())
    assert not status(fresh.hub, fresh.state, kits.recipients(fresh.hub, fresh.state, "lab"), vault).error


def enrol_one(server: Server) -> None:
    vault = server.bring_up()

    def hand(guest: str, token: bytes) -> int:
        return 0

    enrol.enrol(server.hub, server.state, vault, "db", hand=hand)


def _fail(*_: object) -> None:
    raise RuntimeError("no node")
