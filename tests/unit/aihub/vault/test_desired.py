"""What the vault must hold follows from the hub: exact paths, one address, one name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aihub import paths
from aihub.errors import InvalidInput, PreconditionFailed
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.vault.desired import AUDIT, desired, text_of

from tests.vault.local_vault import small_hub


@pytest.fixture(scope="module")
def hub() -> Hub:
    return small_hub()


def test_a_policy_names_each_path_and_no_pattern(hub: Hub) -> None:
    policies = desired(hub).policies
    assert set(policies) == {
        "hub-operator", "hub-agent", "hub-postgres-db", "hub-redis-db", "hub-notes-private-ai", "hub-notes-public-ai",
        *(f"hub-machine-{guest}" for guest in hub.guests),
    }  # fmt: skip
    assert policies["hub-machine-security"] == {"pki/issue/machine-security": ("update",)}
    assert policies["hub-notes-public-ai"] == {
        "kv/data/hub/public-ai/notes/api_key": ("read",),
        "kv/data/hub/public-ai/notes/salt": ("read",),
        "kv/data/hub/public-ai/notes/postgres_main": ("read",),
        "kv/data/hub/public-ai/notes/redis_jobs": ("read",),
        "pki/issue/notes-public-ai": ("update",),
    }
    for name, grants in policies.items():
        if name != "hub-operator":
            assert not [path for path in grants if "*" in path or "+" in path]
            assert {can for grant in grants.values() for can in grant} <= {"read", "update"}


def test_no_path_is_in_the_policies_of_two_guests(hub: Hub) -> None:
    seen: dict[str, str] = {}
    for name, grants in desired(hub).policies.items():
        for path in grants if name not in ("hub-operator", "hub-agent") else ():
            assert seen.setdefault(path, name) == name


def test_every_login_is_bound_to_one_address_and_has_no_default_policy(hub: Hub) -> None:
    found = desired(hub)
    assert set(found.approles) == {"hub-operator", "hub-db", "hub-private-ai", "hub-public-ai", "hub-security"}
    for name, role in found.approles.items():
        guest = hub.guests["security" if name == "hub-operator" else name.removeprefix("hub-")]
        assert role["secret_id_bound_cidrs"] == role["token_bound_cidrs"] == [f"{guest.address}/32"]
        assert role["token_no_default_policy"]
        assert role["token_ttl"] == 1200
    own = ["hub-agent", "hub-machine-db", "hub-postgres-db", "hub-redis-db"]
    assert found.approles["hub-db"]["token_policies"] == own
    assert found.approles["hub-db"]["secret_id_ttl"] == 0


def test_certificates_are_for_exactly_one_name(hub: Hub) -> None:
    roles = desired(hub).pki_roles
    assert {name: role["allowed_domains"] for name, role in roles.items()} == {
        "vault-security": ["security.small.home.arpa"],
        "postgres-db": ["db.small.home.arpa"],
        "redis-db": ["db.small.home.arpa"],
        "notes-private-ai": ["private-ai.small.home.arpa"],
        "notes-public-ai": ["public-ai.small.home.arpa"],
        **{f"machine-{guest}": [f"{guest}.small.home.arpa"] for guest in hub.guests},
    }
    assert {name for name, role in roles.items() if role["client_flag"]} == {f"machine-{name}" for name in hub.guests}
    assert roles["notes-private-ai"]["max_ttl"] == 20 * 86400
    for role in roles.values():
        assert not role["allow_ip_sans"]
        assert not role["allow_subdomains"]


def test_two_things_that_would_get_one_name_are_refused(hub: Hub) -> None:
    notes = hub.instance("notes@private-ai")
    twin = replace(notes, stack=notes.stack.model_copy(update={"name": "notes-private"}))
    twin = replace(twin, guest=replace(notes.guest, name="ai", id="ai"))
    refs = tuple(replace(ref, instance=twin.name) for ref in hub.secrets if ref.instance == notes.name)
    guests = {**hub.guests, "ai": twin.guest}
    clash = replace(hub, guests=guests, instances=(*hub.instances, twin), secrets=(*hub.secrets, *refs))
    with pytest.raises(InvalidInput, match="policy of notes-private@ai would be called hub-notes-private-ai"):
        desired(clash)


def test_a_guest_called_operator_gets_no_login_of_that_name(hub: Hub) -> None:
    def renamed(name: str) -> str:
        return name.replace("@db", "@operator")

    guest = replace(hub.guests["db"], name="operator", id="operator")
    clash = replace(
        hub,
        guests={("operator" if n == "db" else n): (guest if n == "db" else g) for n, g in hub.guests.items()},
        instances=tuple(replace(i, guest=guest) if i.guest.name == "db" else i for i in hub.instances),
        secrets=tuple(replace(ref, instance=renamed(ref.instance)) for ref in hub.secrets),
        certificates=tuple(replace(one, instance=renamed(one.instance)) for one in hub.certificates),
    )
    with pytest.raises(InvalidInput, match="login of the guest operator would be called hub-operator"):
        desired(clash)


def test_the_flavours_differ_in_who_sets_up_the_audit(hub: Hub) -> None:
    assert desired(hub).audit == {}
    instances = tuple(
        replace(i, options={**i.options, "flavour": "vault"}) if i.stack.name == "vault" else i for i in hub.instances
    )
    assert desired(replace(hub, instances=instances)).audit == AUDIT


def test_a_hub_without_a_vault_is_told(hub: Hub) -> None:
    with pytest.raises(PreconditionFailed, match="no vault"):
        desired(replace(hub, instances=tuple(i for i in hub.instances if i.stack.name != "vault")))


def test_the_hub_of_the_repository_has_no_clash() -> None:
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    found = desired(hub)
    assert set(found.approles) == {"hub-operator", *(f"hub-{name}" for name in hub.agents)}


def test_a_policy_is_written_as_the_server_keeps_it() -> None:
    assert text_of({"b": ("read",), "a": ("create", "update")}) == (
        'path "a" {\n  capabilities = ["create", "update"]\n}\n\npath "b" {\n  capabilities = ["read"]\n}\n'
    )
