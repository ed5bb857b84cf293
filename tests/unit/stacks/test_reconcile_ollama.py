"""What Ollama's reconcile.py makes of what a server tells it."""

from __future__ import annotations

import json
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.errors import TaskFailed
from aihub.reading import load
from aihub.services import service as services
from aihub.services.road import Road
from aihub.services.service import Service, Step

from tests.unit.aihub.services import peers

ollama: Any = services.reconciler("ollama")
STEPS = [Step("create", "model qwen:1b", details={"weights": "qwen:1b"})]


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
    body = b'{"models": [{"name": "mine:latest", "size": 3}, {"name": "qwen:1b"}]}'
    with peers.serving(tmp_path, peers.http(body)) as path:
        assert ollama.read(service(path)) == {"mine:latest", "qwen:1b"}


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
