"""Who is root on a guest tries, at a real store, to lock another out, to know its login, or to keep its own forever."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from aihub.names import approle
from aihub.vault.client import Vault, operator
from aihub.vault.errors import Denied, RefusedByVault, Silent

from tests.vault import local_vault
from tests.vault.local_vault import Server

pytestmark = pytest.mark.slow
WRONG = 20
THIEF, VICTIM = "public-ai", "db"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A store of a small hub, brought up as every hub's is."""
    with local_vault.served(tmp_path_factory.mktemp("store")) as server:
        server.bring_up().close()
        yield server


@pytest.fixture
def owner(store: Server) -> Iterator[Vault]:
    """The controller's own client."""
    found = store.vault()
    found.login(*operator(store.state))
    yield found
    found.close()


@pytest.fixture
def logins(store: Server, owner: Vault) -> dict[str, tuple[str, str]]:
    """What each guest holds: role-id and secret-id."""
    roles = {name: approle(name) for name in (THIEF, VICTIM)}
    return {name: (owner.role_id(role), owner.secret_id(role).value) for name, role in roles.items()}


def caller(store: Server, guest: str) -> Vault:
    """A client that calls from a guest's address."""
    return store.vault(str(store.hub.guests[guest].address))


def refused(client: Vault, role_id: str) -> None:
    """One wrong secret-id."""
    with pytest.raises((Denied, RefusedByVault, Silent)):
        client._send("post", "auth/approle/login", False, json={"role_id": role_id, "secret_id": "wrong"})


def test_wrong_secret_ids_lock_nobody_out(store: Server, logins: dict[str, tuple[str, str]]) -> None:
    """Five of them closed an AppRole for 15 minutes, whoever sent them."""
    role_id, secret_id = logins[VICTIM]
    thief = caller(store, THIEF)
    for _ in range(WRONG):
        refused(thief, role_id)
    thief.close()
    victim = caller(store, VICTIM)
    victim.login(role_id, secret_id)
    assert victim.token().role == approle(VICTIM)
    victim.revoke_self()
    victim.close()


def test_a_flood_of_logins_slows_down_its_source_alone(store: Server, logins: dict[str, tuple[str, str]]) -> None:
    role_id, secret_id = logins[VICTIM]
    thief, told = caller(store, THIEF), []
    for _ in range(80):
        try:
            thief._send("post", "auth/approle/login", False, json={"role_id": role_id, "secret_id": "wrong"})
        except Silent as error:
            told.append(error)
        except (Denied, RefusedByVault):
            pass
        if told:
            break
    assert told and "429" in told[0].what, "nothing slows it down"
    victim = caller(store, VICTIM)
    victim._send("post", "auth/approle/login", False, json={"role_id": role_id, "secret_id": secret_id})
    victim.close()
    thief.close()


def test_a_role_id_follows_from_no_name(store: Server, owner: Vault) -> None:
    hub = store.hub
    for guest in hub.agents:
        name = hub.guests[guest].id
        guesses = {
            approle(name),
            name,
            hashlib.sha256(f"{hub.id}\n{name}\napprole".encode()).hexdigest()[:32],  # as it was made once
        }
        assert owner.role_id(approle(name)) not in guesses
    kept = {guest: owner.role_id(approle(hub.guests[guest].id)) for guest in hub.agents}
    store.bring_up().close()
    assert {guest: owner.role_id(approle(hub.guests[guest].id)) for guest in hub.agents} == kept
    assert len(set(kept.values())) == len(kept)


def test_a_token_lives_no_longer_than_its_purpose(
    store: Server, owner: Vault, logins: dict[str, tuple[str, str]]
) -> None:
    thief = caller(store, THIEF)
    thief.login(*logins[THIEF])
    with pytest.raises((Denied, RefusedByVault)):
        thief.put("auth/token/renew-self", {"increment": "24h"})
    found = thief.get("auth/token/lookup-self") or {}
    assert 0 < found["ttl"] <= found["explicit_max_ttl"] <= 20 * 60
    assert owner.put("auth/token/lookup-accessor", {"accessor": found["accessor"]})["data"]["ttl"] <= 20 * 60
    thief.revoke_self()
    thief.close()


def test_an_agent_ends_its_own_token_and_no_other(
    store: Server, owner: Vault, logins: dict[str, tuple[str, str]]
) -> None:
    thief, victim = caller(store, THIEF), caller(store, VICTIM)
    thief.login(*logins[THIEF])
    victim.login(*logins[VICTIM])
    stolen, accessor = thief._client.token, victim.token().accessor
    for path, value in (("revoke-accessor", {"accessor": accessor}), ("revoke", {"token": victim._client.token})):
        with pytest.raises(Denied):
            thief.put(f"auth/token/{path}", value)
    thief.revoke_self()
    copy = caller(store, THIEF)
    copy.use(stolen)
    with pytest.raises(Denied):
        copy.token()
    assert victim.token().accessor == accessor
    for one in (thief, victim, copy):
        one.close()
