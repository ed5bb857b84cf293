"""What the gateway is told of models: where each is asked, who answers in its place, and what shares a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aihub import render
from aihub.model.resolved import Hub
from aihub.reading import load
from ruamel.yaml import YAML

HUB = """
hub: {name: test, domain: hub.example.org}
nodes: {pve: {address: 192.168.1.10, storage: {fast: {use: local}}, lab: {cores: 4, memory: 32GiB}}}
zones:
  infra: {subnet: 10.10.10.0/24, internet: outbound}
  private: {subnet: 10.10.20.0/24, internet: outbound}
  public: {subnet: 10.10.30.0/24, internet: outbound}
guests:
  db: {vmid: 110, kind: lxc, zone: infra, address: 10.10.10.11, cores: 1, memory: 4GiB, disk: 8GiB,
       stacks: [postgres, vault]}
  one: {vmid: 301, kind: lxc, zone: public, address: 10.10.30.11, cores: 1, memory: 4GiB, disk: 8GiB,
        stacks: [litellm, vllm]}
  two: {vmid: 302, kind: lxc, zone: public, address: 10.10.30.12, cores: 1, memory: 4GiB, disk: 8GiB, stacks: [vllm]}
  own: {vmid: 303, kind: lxc, zone: private, address: 10.10.20.12, cores: 1, memory: 4GiB, disk: 8GiB,
        stacks: [litellm, vllm]}
models:
  a: {engine: vllm, guest: one, weights: org/A-7B, memory: 9GiB, fallback: FALLBACK}
  b: {engine: vllm, guest: two, weights: org/B-7B, memory: 9GiB}
  c: {engine: vllm, guest: own, weights: org/C-7B, memory: 9GiB}
"""
ROUTES = "routes: {chat: {a: 3, b: 1}}\n"


def config(folder: Path, text: str, instance: str = "litellm@one") -> dict[str, Any]:
    """LiteLLM's config.yaml for a hub."""
    file = folder / "hub.yml"
    file.write_text(text)
    hub: Hub = load.load(file, target="lab")
    return YAML(typ="safe").load(render.stack_files(hub, hub.instance(instance))["config/config.yaml"])


def where(weights: str, guest: str) -> dict[str, Any]:
    url = f"https://{guest}.hub.example.org:8008/v1"
    return {"model": f"openai/{weights}", "api_base": url, "api_key": "none"}


def test_each_model_is_asked_where_it_is_and_nobody_stands_in(tmp_path: Path) -> None:
    found = config(tmp_path, HUB.replace("FALLBACK", "[]"))
    assert found["model_list"] == [
        {"model_name": "a", "litellm_params": where("org/A-7B", "one")},
        {"model_name": "b", "litellm_params": where("org/B-7B", "two")},
    ]
    assert found["router_settings"]["fallbacks"] == []


def test_a_fallback_answers_in_place_of_its_model(tmp_path: Path) -> None:
    found = config(tmp_path, HUB.replace("FALLBACK", "[b]"))
    assert found["router_settings"]["fallbacks"] == [{"a": ["b"]}]


def test_a_route_is_shared_by_weight_and_each_of_its_models_stands_in_for_it(tmp_path: Path) -> None:
    found = config(tmp_path, HUB.replace("FALLBACK", "[b]") + ROUTES)
    assert found["model_list"][2:] == [
        {"model_name": "chat", "litellm_params": {**where("org/A-7B", "one"), "weight": 3}},
        {"model_name": "chat", "litellm_params": {**where("org/B-7B", "two"), "weight": 1}},
    ]
    assert found["router_settings"]["fallbacks"] == [{"a": ["b"]}, {"chat": ["a", "b"]}]


def test_the_gateway_of_another_zone_knows_none_of_it(tmp_path: Path) -> None:
    found = config(tmp_path, HUB.replace("FALLBACK", "[b]") + ROUTES, "litellm@own")
    assert [one["model_name"] for one in found["model_list"]] == ["c"]
    assert found["router_settings"]["fallbacks"] == []
