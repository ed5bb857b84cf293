"""What Ollama's reconcile.py makes of what a server tells it."""

from __future__ import annotations

import json
import socket
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.errors import TaskFailed
from aihub.reading import load
from aihub.services import declared
from aihub.services import service as services
from aihub.services.declared import Declared
from aihub.services.road import Road
from aihub.services.service import Service, Step

from tests.unit.aihub.services import peers

ollama: Any = services.reconciler("ollama")
STEPS = [Step("create", "model qwen:1b", details={"weights": "qwen:1b", "digest": ""})]


def service(path: Path) -> Service:
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    road = Road(lambda: nullcontext(path), lambda: nullcontext(0))
    return Service(hub, hub.instance("ollama@private-ai"), None, Path("ca.pem"), road)  # type: ignore[arg-type]


def pull(tmp_path: Path, *lines: dict[str, Any]) -> list[str]:
    """What is said of a pull that the server tells in these lines."""
    said: list[str] = []

    def answer(link: socket.socket) -> None:
        asked = peers.request(link)
        assert json.loads(asked.partition(b"\r\n\r\n")[2]) == {"model": "qwen:1b", "stream": True}
        body = "".join(f"{json.dumps(line)}\n" for line in lines)
        link.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}".encode())

    with peers.serving(tmp_path, answer) as path:
        ollama.apply(service(path), STEPS, said.append)
    return said


def test_the_models_that_are_there_are_told_by_name(tmp_path: Path) -> None:
    body = b'{"models": [{"name": "mine:latest", "size": 3}, {"name": "qwen:1b", "digest": "5e"}]}'
    with peers.serving(tmp_path, peers.http(body)) as path:
        found = ollama.read(service(path))
    assert found == ollama.State({"mine:latest": "", "qwen:1b": "5e"}, frozenset({"mine:latest", "qwen:1b"}))


@pytest.mark.parametrize("body", [b"{}", b'{"models": [{}]}', b'{"models": [{"name": 3}]}', b"<html>"])
def test_an_answer_that_is_no_list_of_models_is_an_error(tmp_path: Path, body: bytes) -> None:
    with peers.serving(tmp_path, peers.http(body)) as path, pytest.raises(TaskFailed, match="another than expected"):
        ollama.read(service(path))


def test_a_pull_tells_each_tenth_once(tmp_path: Path) -> None:
    layer = [{"status": "pulling", "total": 100, "completed": done} for done in (1, 5, 12, 19, 100)]
    told = ["qwen:1b: pulling 0 %", "qwen:1b: pulling 10 %", "qwen:1b: pulling 100 %", "qwen:1b: success"]
    assert pull(tmp_path, *layer, {"status": "success"}) == told


def test_a_pull_that_ends_early_has_failed(tmp_path: Path) -> None:
    with pytest.raises(TaskFailed, match="ended without success"):
        pull(tmp_path, {"status": "pulling", "total": 0, "completed": 3})


def test_a_pull_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TaskFailed, match=r"can't be pulled: no such model: gone$") as raised:
        pull(tmp_path, {"status": "pulling"}, {"error": "no such model:\n\x1bgone"})
    assert raised.value.where == "ollama@private-ai"


def test_declared_weights_that_are_missing_are_pulled_and_others_stay() -> None:
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    asked, name = declared.of(hub, hub.instance("ollama@private-ai")), "qwen2.5:32b-instruct-q4_K_M"
    there = ollama.State({"mine:latest": "4d"})
    step = ollama.diff(asked, there)[0]
    assert step.details == {"weights": name, "digest": ""}
    assert all(step.action == "create" for step in ollama.diff(asked, there))
    assert list(ollama.kept(asked, there)) == ["mine:latest"]
    every = {step.details["weights"]: "5e" for step in ollama.diff(asked, there)}
    assert ollama.diff(asked, ollama.State({"mine:latest": "4d", **every})) == []


def test_a_model_that_is_not_declared_any_more_leaves_memory_and_goes_when_somebody_names_it() -> None:
    asked, mine = Declared("ollama@private-ai"), ollama.State({"mine:latest": "4d"}, frozenset({"mine:latest"}))
    (step,) = ollama.diff(asked, mine)
    assert (step.action, step.details) == ("update", {"unload": "mine:latest"})
    assert ollama.diff(asked, replace(mine, loaded=frozenset())) == []
    (gone,) = ollama.diff(replace(asked, forgotten=("mine:latest",)), replace(mine, loaded=frozenset()))
    assert (gone.action, gone.data_at_risk) == ("delete", "the weights of mine:latest")


def test_weights_that_are_not_those_of_hub_yml_are_pulled_again() -> None:
    asked = Declared("ollama@private-ai", models=("qwen2.5",), digests=(("qwen2.5", "a" * 64),))
    assert ollama.diff(asked, ollama.State({"qwen2.5:latest": "a" * 64})) == []
    (step,) = ollama.diff(asked, ollama.State({"qwen2.5:latest": "b" * 64}))
    assert (step.action, [d.field for d in step.differences]) == ("update", ["digest"])


def test_weights_without_a_tag_are_the_latest_and_pulled_once() -> None:
    asked = Declared("ollama@private-ai", models=("qwen2.5", "qwen2.5:latest", "me/mine"))
    steps = ollama.diff(asked, None)
    assert [step.object for step in steps] == ["model qwen2.5:latest", "model me/mine:latest"]
