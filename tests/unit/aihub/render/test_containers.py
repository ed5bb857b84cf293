"""What is put around every compose.yml: networks with known bridges, what they reach, and no capability."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from aihub import names, paths
from aihub.model.resolved import Flow, Hub
from aihub.reading import load
from aihub.render import containers


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for the compose.yml of stacks/egress, written by somebody who forgot everything."""
    monkeypatch.setattr(containers, "STACKS", tmp_path)
    containers._read.cache_clear()
    path = tmp_path / "egress" / "compose.yml"
    path.parent.mkdir()
    path.write_text("services:\n  egress:\n    image: example/egress:1\n")
    return path


def made(hub: Hub, waivers: dict[str, str] | None = None) -> dict[str, Any]:
    """The override for that stack."""
    instance = hub.instance("egress@cache")
    stack = instance.stack.model_copy(update={"waivers": waivers or {}})
    found: dict[str, Any] = json.loads(containers.override(replace(instance, stack=stack), ""))
    return found


def test_a_stack_reaches_what_it_needs_and_nothing_else(hub: Hub) -> None:
    (found,) = containers.walls(hub, hub.instance("canary@private-ai"))
    assert found["bridge"] == "br-canary"
    assert {(one["address"], one["port"]) for one in found["reaches"]} == {("10.10.20.12", 5432), ("10.10.20.12", 6379)}
    assert not found["outside"]
    (nothing,) = containers.walls(hub, hub.instance("postgres@db"))
    assert (nothing["reaches"], nothing["outside"]) == ([], False)


def test_containers_reach_what_their_guest_does_in_the_lan(hub: Hub) -> None:
    lan = (
        Flow("10.10.20.0/24", "192.168.1.20", 445, "tcp"),
        Flow("10.10.20.11/32", "192.168.1.53", 53, "udp"),
        Flow("10.10.30.0/24", "192.168.1.30", 631, "tcp"),
    )
    own = replace(hub, lan=lan)
    (found,) = containers.walls(own, hub.instance("canary@private-ai"))
    assert {"address": "192.168.1.20", "port": 445, "protocol": "tcp"} in found["reaches"]
    assert {"address": "192.168.1.53", "port": 53, "protocol": "udp"} in found["reaches"]
    assert not [one for one in found["reaches"] if one["port"] == 631]


def test_who_names_hosts_outside_gets_the_way_out_of_its_zone(hub: Hub) -> None:
    (closed,) = containers.walls(hub, hub.instance("ollama@private-ai"))
    assert closed["reaches"] == [{"address": "10.10.10.12", "port": 3128, "protocol": "tcp"}]
    assert not closed["outside"]
    (open_,) = containers.walls(hub, hub.instance("egress@cache"))
    assert (open_["reaches"], open_["outside"]) == ([], True)


def test_what_hub_yml_names_of_the_lan_is_open_to_the_stacks_of_that_guest(hub: Hub) -> None:
    disk = Flow("10.10.30.0/24", "192.168.1.20", 445)
    named = replace(hub, lan=(disk, replace(disk, source="10.10.10.15/32", port=161, protocol="udp")))
    guests = ("public-ai", "monitoring", "private-ai")
    reached = {name: containers.walls(named, hub.instance(f"canary@{name}"))[0]["reaches"] for name in guests}
    assert {"address": "192.168.1.20", "port": 445, "protocol": "tcp"} in reached["public-ai"]
    assert {"address": "192.168.1.20", "port": 161, "protocol": "udp"} in reached["monitoring"]
    assert not [one for one in reached["private-ai"] if one["address"] == "192.168.1.20"]


def test_a_way_out_leads_neither_to_the_hub_nor_to_its_nodes(hub: Hub) -> None:
    found = containers.not_outside(hub, IPv4Network("172.30.0.0/16"))
    assert {"10.10.10.0/24", "10.10.20.0/24", "10.10.30.0/24", "192.168.1.10", "172.30.0.0/16"} < set(found)


def test_what_is_in_its_guests_own_network_has_none_of_its_own(hub: Hub) -> None:
    assert containers.networks(hub.instance("vault@security")) == {}
    assert containers.walls(hub, hub.instance("vault@security")) == []


def test_what_an_author_forgot_is_put_in(hub: Hub, compose: Path) -> None:
    service = made(hub)["services"]["egress"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_a_waiver_keeps_capabilities_but_no_raw_sockets(hub: Hub, compose: Path) -> None:
    service = made(hub, {"cap_drop": "it changes users", "no_new_privileges": "by sudo"})["services"]["egress"]
    assert service["cap_drop"] == ["NET_RAW"]
    assert "security_opt" not in service


def test_what_an_author_wrote_is_not_written_twice(hub: Hub, compose: Path) -> None:
    compose.write_text(
        "services:\n  egress:\n    image: example/egress:1\n    cap_drop: [ALL]\n"
        "    security_opt: ['no-new-privileges:true']\n"
    )
    assert set(made(hub)["services"]["egress"]) == {"labels"}  # Compose adds the lists of both files together


def test_networks_of_its_own_are_known_by_their_bridges_too(hub: Hub, compose: Path) -> None:
    compose.write_text(
        "services:\n  egress:\n    image: example/egress:1\n    networks: [back]\n"
        "  helper:\n    image: example/egress:1\n    networks: {back: {}, front: {}}\n"
        "networks:\n  back: {internal: true}\n  front: {}\n"
    )
    found = made(hub)
    assert {key: one["name"] for key, one in found["networks"].items()} == {
        "back": "hub-egress_back",
        "front": "hub-egress_front",
    }
    bridges = [one["driver_opts"]["com.docker.network.bridge.name"] for one in found["networks"].values()]
    assert bridges == [one["bridge"] for one in containers.walls(hub, hub.instance("egress@cache"))]
    assert found["services"]["helper"]["labels"]["hub.networks"] == "egress_back egress_front"


def test_a_bridge_is_never_longer_than_linux_takes() -> None:
    found = {names.bridge(name) for name in ("a", "a" * 12, "a" * 13, "a" * 14, "prometheus_alertmanager")}
    assert len(found) == 5
    assert max(map(len, found)) == 15


def test_the_card_of_a_guest_is_for_the_stacks_that_can_use_one(hub: Hub) -> None:
    containers._read.cache_clear()
    for name, has in (("ollama@private-ai", True), ("vllm@public-ai", True), ("chroma@private-ai", False)):
        instance = hub.instance(name)
        made = json.loads(containers.override(instance, ""))["services"][instance.stack.name]
        wanted = {"driver": "cdi", "device_ids": ["nvidia.com/gpu=all"], "capabilities": ["gpu"]}
        reserved = made.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        assert reserved == ([wanted] if has else []), name
    without = replace(hub.instance("ollama@private-ai"), guest=replace(hub.guests["private-ai"], gpu=None))
    assert "deploy" not in json.loads(containers.override(without, ""))["services"]["ollama"]
