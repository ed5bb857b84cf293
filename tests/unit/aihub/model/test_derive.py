"""What follows from hub.yml: addresses, names, start order, consumers, secrets, flows."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aihub import paths
from aihub.model.resolved import Certificate, Consumer, Hub, Opening, bridge_of, mac_of
from aihub.reading import load

from tests.unit.aihub import cases


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(cases.CASES / "hub" / "valid" / "everything.yml", cases.STACKS, target="lab")


@pytest.fixture(scope="module")
def kinds() -> Hub:
    return load.load(cases.CASES / "hub" / "valid" / "kinds.yml", cases.STACKS, target="lab")


def test_a_guest_gets_what_its_zone_and_number_imply(hub: Hub) -> None:
    guest = hub.guests["ai"]
    assert guest.mac == "BC:24:11:00:00:C9"
    assert guest.bridge == "hubprivate"
    assert guest.gateway == IPv4Address("10.10.20.1") == hub.gateway("private")
    assert guest.fqdn == "ai.hub.example.org"
    assert (guest.node, guest.storage, guest.gpu, guest.internet) == ("pve", "local-zfs", "big", False)
    assert hub.guests["db"].storage == "tank"


def test_bridges_have_names_that_proxmox_takes() -> None:
    assert [bridge_of(zone) for zone in ("infra", "private", "public")] == ["hubinfra", "hubprivate", "hubpublic"]


def test_a_mac_address_keeps_the_last_three_bytes_of_the_number() -> None:
    assert mac_of(0x123456) == "BC:24:11:12:34:56"


def test_providers_start_before_those_who_need_them_and_egress_first_of_all(hub: Hub) -> None:
    order = [instance.name for instance in hub.instances]
    assert order[0] == "egress@cache"
    for instance in hub.instances:
        for provider in instance.providers.values():
            assert order.index(provider) < order.index(instance.name)


def test_a_need_is_served_from_the_same_guest_else_the_same_zone_else_infra(hub: Hub) -> None:
    assert hub.instance("app@tools").providers == {"postgres": "postgres@db", "redis": "redis@tools"}
    assert hub.instance("app@web").providers == {"postgres": "postgres@db", "redis": "redis@cache"}
    assert hub.instance("dashboard@ai").providers == {"app": "app@tools"}


@pytest.fixture(scope="module")
def engines() -> Hub:
    return load.load(cases.CASES / "hub" / "valid" / "engines.yml", cases.STACKS, target="lab")


def test_who_needs_every_engine_uses_those_of_its_zone_and_no_other(engines: Hub) -> None:
    door, web = engines.instance("gateway@door"), engines.instance("gateway@web")
    assert set(door.every["models"]) == {"ollama@door", "ollama@ai"}
    assert web.every == {"models": ()}
    assert "gateway@web uses all models of zone public, and nothing there gives any" in engines.warnings


def test_an_engine_is_told_by_its_door_its_api_and_its_models(engines: Hub) -> None:
    found = {one.instance: one for one in engines.engines(engines.instance("gateway@door"))}
    assert found["ollama@ai"].url == "https://ai.hub.example.org:11434/v1"
    assert {name: one.weights for name, one in found["ollama@ai"].models.items()} == {
        "small": "qwen2.5:7b", "smaller": "qwen2.5:1b",
    }  # fmt: skip
    assert found["ollama@door"].models == {}


def test_who_needs_every_engine_may_connect_to_each_and_waits_for_none(engines: Hub) -> None:
    flows = {(flow.source, flow.destination, flow.port) for flow in engines.flows}
    assert ("10.10.20.10/32", "10.10.20.11", 11434) in flows
    door = engines.instance("gateway@door")
    assert door.started_after == ()
    assert {c.consumer for c in engines.consumers if c.kind == "models"} == set()


def test_of_kinds_of_which_it_can_use_any_the_nearest_serves_unless_hub_yml_says_another() -> None:
    hub = load.load(cases.CASES / "hub" / "valid" / "one-of.yml", cases.STACKS, target="lab")
    near, far = hub.instance("shelf@near"), hub.instance("shelf@far")
    assert (near.providers, near.started_after) == ({"redis": "redis@near"}, ("redis@near",))
    assert (far.providers, far.started_after) == ({"postgres": "postgres@out"}, ("postgres@out",))
    assert {(c.kind, c.role) for c in hub.consumers if c.key == "books"} == {
        ("redis", "shelf_near_books"),
        ("postgres", "shelf_far_books"),
    }


def test_a_stack_that_needs_one_of_several_kinds_needs_the_store_before_one_is_chosen() -> None:
    assert load.stack("shelf", cases.STACKS).needs_store


def test_every_login_has_an_owner_of_its_own_and_the_checks_log_in_everywhere(hub: Hub) -> None:
    assert set(hub.consumers) == {
        Consumer("postgres@db", "app@tools", "postgres", "main", "app_tools_main", "pair"),
        Consumer("postgres@db", "app@tools", "postgres", "audit", "app_tools_audit", "pair"),
        Consumer("redis@tools", "app@tools", "redis", "queue", "app_tools_queue", "overlap"),
        Consumer("postgres@db", "app@web", "postgres", "main", "app_web_main", "pair"),
        Consumer("postgres@db", "app@web", "postgres", "audit", "app_web_audit", "pair"),
        Consumer("redis@cache", "app@web", "redis", "queue", "app_web_queue", "overlap"),
        Consumer("app@tools", "dashboard@ai", "app", "main", "dashboard_ai_main"),
        Consumer("postgres@db", "verify", "postgres", "verify", "verify", "pair"),
        Consumer("redis@cache", "verify", "redis", "verify", "verify", "overlap"),
        Consumer("redis@tools", "verify", "redis", "verify", "verify", "overlap"),
    }


def test_every_login_is_a_pair_that_only_the_operator_reads(hub: Hub) -> None:
    found = {(pair.provider, pair.role): pair for pair in hub.pairs if pair.role != "hub_reconcile"}
    assert set(found) == {(one.provider, one.role) for one in hub.consumers if one.strategy}
    pair = found["postgres@db", "app_web_main"]
    assert pair.path == "operator/pair/postgres@db/app_web_main"
    assert (pair.user("a"), pair.user("b")) == ("app_web_main_a", "app_web_main_b")
    assert found["redis@cache", "app_web_queue"].user("b") == "app_web_queue"
    assert found["redis@tools", "verify"].entry is None


def test_a_consumer_reads_its_login_and_a_provider_our_own_pair(hub: Hub) -> None:
    refs = {ref.path: ref for ref in hub.secrets}
    login = refs["hub/web/app/postgres_main"]
    assert (login.instance, login.kind, login.on_change) == ("app@web", "login", "restart")
    assert set(login.files) == {"postgres_main_user", "postgres_main_password", "postgres_main_login"}
    assert login in [pair.entry for pair in hub.pairs]
    own = refs["hub/db/postgres/reconcile"]
    assert (own.files, own.on_change) == ({"reconcile_a": "{a}", "reconcile_b": "{b}"}, "none")
    assert {pair.path for pair in hub.pairs if pair.role == "hub_reconcile"} == {
        "hub/db/postgres/reconcile", "hub/cache/redis/reconcile", "hub/tools/redis/reconcile",
    }  # fmt: skip


def test_a_stacks_own_secret_is_what_its_manifest_says(hub: Hub) -> None:
    (ref,) = [ref for ref in hub.secrets if ref.kind == "value"]
    assert (ref.path, dict(ref.files)) == ("hub/db/postgres/license", {"license": "{value}"})
    assert (ref.length, ref.alphabet, ref.rotate, ref.on_change) == (48, "hex", 90, "none")


def test_no_path_leads_out_of_its_instance(hub: Hub) -> None:
    for ref in hub.secrets:
        instance = hub.instance(ref.instance)
        assert ref.path == f"hub/{instance.guest.id}/{instance.stack.name}/{ref.name}"
    every = [ref.path for ref in hub.secrets] + [pair.path for pair in hub.pairs if pair.role != "hub_reconcile"]
    assert len(every) == len(set(every))


def test_whoever_serves_with_tls_has_a_certificate_for_its_guests_name(hub: Hub) -> None:
    (found,) = hub.certificates
    assert found == Certificate("postgres@db", "postgres-db", "db.hub.example.org", 30, "reload")


def test_whoever_shows_a_certificate_is_known_by_the_one_name_in_it(kinds: Hub) -> None:
    shown = {one.key: one.shows for one in kinds.consumers if one.kind == "stamp"}
    assert shown == {
        "red_main": "ink-desk-red-main.stamp.hub.example.org",
        "main": "ink-desk-main.stamp.hub.example.org",
        "dry_": "ink-desk-dry.stamp.hub.example.org",  # a hyphen at the end would be no host name
    }
    role, name = "ink-desk-stamp_main", shown["main"]
    own = Certificate("ink@desk", role, name, 30, "restart", file="stamp_main.pem", server=False, client=True)
    assert own in kinds.certificates and own.place == "ink.stamp_main.pem"
    assert not [pair for pair in kinds.pairs if pair.provider.startswith("stamp@")]


def test_the_checks_log_in_at_each_kind_of_a_provider(kinds: Hub) -> None:
    logins = {pair.role: pair for pair in kinds.pairs if pair.provider == "notary@safe"}
    assert set(logins) == {"hub_reconcile", "verify", "verify_wax"}
    assert [logins[role].strategy for role in ("hub_reconcile", "verify", "verify_wax")] == [
        "overlap", "overlap", "single",
    ]  # fmt: skip
    assert (logins["verify_wax"].halves, logins["verify_wax"].interrupts) == (("a",), "5s")


def test_every_guest_of_a_hub_with_a_vault_has_an_agent_and_a_certificate_of_its_own(hub: Hub) -> None:
    assert hub.agents == ("ai", "tools", "web", "db", "cache")
    assert hub.machines["db"] == Certificate("db", "machine-db", "db.hub.example.org", 30, "none", client=True)
    assert (hub.machines["db"].guest, hub.machines["db"].folder) == ("db", "machine")
    assert hub.machines["web"].on_change == "reload", "its door serves with it"
    without = replace(hub, instances=tuple(i for i in hub.instances if i.stack.name != "vault"))
    assert (without.agents, dict(without.machines)) == ((), {})
    assert hub.vault is not None
    assert hub.vault.name == "vault@cache"
    assert [i.name for i in hub.instances].index("vault@cache") == 1  # right after the egress proxy


def test_a_door_leads_to_what_answers_http_on_its_guest(hub: Hub) -> None:
    assert hub.door("ai") == (
        Opening("dashboard@ai", 8090, 8090, False),
        Opening("ollama@ai", 11434, 11434, False),
    )
    assert hub.door("db") == ()
    behind = load.stack("behind", cases.STACKS)
    assert Opening.of(replace(hub.instances[0], stack=behind)) == Opening("behind@cache", 8089, 8080, True)
    (http,) = behind.gives.values()
    narrow = behind.model_copy(update={"gives": {"http": http.model_copy(update={"paths": ["/", "/v1/*"]})}})
    assert Opening.of(replace(hub.instances[0], stack=narrow)).paths == ("/", "/v1/*")


def test_a_guest_needs_what_its_stacks_need_and_something_for_itself(hub: Hub) -> None:
    assert hub.least_memory("db") == (256 + 64) << 20
    assert hub.least_memory("tools") == (256 + 64 + 64) << 20


def test_only_declared_connections_are_open(hub: Hub) -> None:
    assert {(flow.source, flow.destination, flow.port) for flow in hub.flows} == {
        ("10.10.10.0/24", "10.10.20.12", 8080),  # app publishes to every zone
        ("10.10.20.0/24", "10.10.20.12", 8080),
        ("10.10.30.0/24", "10.10.20.12", 8080),
        ("10.10.10.0/24", "10.10.30.11", 8080),
        ("10.10.20.0/24", "10.10.30.11", 8080),
        ("10.10.30.0/24", "10.10.30.11", 8080),
        ("10.10.20.0/24", "10.10.20.12", 8081),  # and its administration to its own zone
        ("10.10.30.0/24", "10.10.30.11", 8081),
        ("10.10.20.11/32", "10.10.20.12", 8080),  # dashboard uses app
        ("10.10.20.0/24", "10.10.20.11", 8090),  # dashboard publishes to its zone
        ("10.10.20.0/24", "10.10.20.11", 9100),
        ("10.10.20.0/24", "10.10.20.11", 11434),  # ollama likewise
        ("10.10.20.12/32", "10.10.10.11", 5432),  # app logs in
        ("10.10.30.11/32", "10.10.10.11", 5432),
        ("10.10.30.11/32", "10.10.10.12", 6379),
        ("10.10.20.0/24", "10.10.10.12", 3128),  # the private zone's way out
        ("10.10.10.11/32", "10.10.10.12", 8200),  # the agent of every guest fetches from the vault
        ("10.10.20.11/32", "10.10.10.12", 8200),
        ("10.10.20.12/32", "10.10.10.12", 8200),
        ("10.10.30.11/32", "10.10.10.12", 8200),
        ("10.10.10.1/32", "10.10.10.12", 8200),  # and the node unseals it
    }


def test_the_egress_proxy_lets_through_what_stacks_declare(hub: Hub) -> None:
    assert hub.egress is not None
    assert hub.egress.name == "egress@cache"
    assert hub.egress_hosts == ("registry.example.org",)


EVERYTHING = (cases.CASES / "hub" / "valid" / "everything.yml").read_text().replace("52GiB", "60GiB")
KEYS = "operator.ssh_keys is empty: only the controller's own key may log in"
SHARED = (
    "postgres@db holds data of zone private, which has no way out (app@tools), and zone public gets in there, too "
    "(app@web): a guest of zone private with postgres would keep them apart"
)
COPIES = "no copies are made of the data of postgres@db: add a stack that gives restic, or make your own"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", (SHARED, COPIES)),
        (" gpu: big,", "", ("ollama@ai has no card: it computes on the processor, slowly", SHARED, COPIES)),
        (
            "{use: tank}",
            "{use: local-zfs}",
            ("node pve has one storage, local-zfs: what fails takes data and copies with it", SHARED, COPIES),
        ),
        ("60GiB", "61439MiB", ("node pve keeps 8191MiB for itself, less than 8GiB", SHARED, COPIES)),
    ],
)
def test_what_is_allowed_and_unwise_is_worth_one_sentence(
    tmp_path: Path, old: str, new: str, expected: tuple[str, ...]
) -> None:
    path = tmp_path / "hub.yml"
    text = EVERYTHING.replace(old, new) if old else EVERYTHING
    path.write_text(re.sub(r", disk: \{fast: [^}]*\}", "", text))  # one storage has one size
    warnings = load.load(path, cases.STACKS, target="lab").warnings
    assert warnings == (KEYS, *expected)


def test_zones_that_share_a_card_are_worth_a_sentence(tmp_path: Path) -> None:
    text = (cases.CASES / "hub" / "valid" / "shared-card.yml").read_text()
    path, told = tmp_path / "hub.yml", "ai of private and far of infra share card big"
    far = (
        "  far: {vmid: 130, kind: lxc, zone: infra, address: 10.10.10.20, cores: 1, memory: 1GiB, disk: 8GiB, gpu: big}"
    )
    for more in ("", f"{far}\n"):
        path.write_text(text.replace("models:", f"{more}models:"))
        warnings = load.load(path, cases.STACKS, target="lab").warnings
        assert any(one.startswith(told) for one in warnings) == bool(more), warnings


def test_a_container_with_a_card_has_its_nodes_system(tmp_path: Path) -> None:
    hub = load.load(cases.CASES / "hub" / "valid" / "shared-card.yml", cases.STACKS, target="lab")
    assert {name: guest.image for name, guest in hub.guests.items()} == {
        "db": "debian-13", "ai": "debian-13", "also": "debian-13", "web": "ubuntu-24.04",
    }  # fmt: skip


def test_zones_may_share_a_server_where_none_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "hub.yml"
    assert "internet: none" in EVERYTHING
    path.write_text(EVERYTHING.replace("internet: none", "internet: outbound"))
    assert SHARED not in load.load(path, cases.STACKS, target="lab").warnings


def test_in_the_default_hub_private_keeps_nothing_where_public_logs_in(tmp_path: Path) -> None:
    text = paths.DEFAULT_HUB.read_text()
    told = [w for w in load.load(paths.DEFAULT_HUB, target="lab").warnings if "gets in there" in w]
    assert told == []
    path = tmp_path / "hub.yml"
    path.write_text(re.sub(r"stacks: \[postgres, redis\]", "stacks: []", text))
    told = [w.split(" ")[0] for w in load.load(path, target="lab").warnings if "gets in there" in w]
    assert told == ["postgres@db", "redis@cache"]


def test_a_real_node_is_not_judged_by_the_labs_size() -> None:
    path = cases.CASES / "hub" / "valid" / "real-node.yml"
    warnings = load.load(path, cases.STACKS, target="pve").warnings
    assert not [text for text in warnings if "for itself" in text]


def test_the_labs_id_depends_on_name_and_domain_only(hub: Hub, tmp_path: Path) -> None:
    text = (cases.CASES / "hub" / "valid" / "everything.yml").read_text()
    path = tmp_path / "hub.yml"
    path.write_text(text.replace("cores: 2", "cores: 3"))
    assert load.load(path, cases.STACKS, target="lab").id == hub.id
    path.write_text(text.replace("name: test", "name: other"))
    assert load.load(path, cases.STACKS, target="lab").id != hub.id
    assert len(hub.id) == 16


def test_a_written_id_is_the_id() -> None:
    path = cases.CASES / "hub" / "valid" / "real-node.yml"
    found = load.load(path, cases.STACKS, target="pve")
    assert found.id == "00c0ffee00c0ffee"
    assert found.operator_keys[0].endswith("ada@example.org")
    assert [key.split()[0][:4] for key in found.operator_recovery] == ["age1", "ssh-"]
