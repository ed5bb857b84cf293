"""What engines are asked, and how their answers are read: over real sockets, in the forms of OpenAI's API."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.errors import TaskFailed
from aihub.model.hub import LanguageModel
from aihub.reading import load
from aihub.services import engines, road
from aihub.services.road import Road

from tests.unit.aihub.services import peers

CHAT = LanguageModel.model_validate({"engine": "ollama", "guest": "g", "weights": "qwen:1b"})
EMBEDDING = CHAT.model_copy(update={"use": "embedding"})


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], str]], Any]:
    """Answers of the default hub's engine to each body it is sent."""

    @contextmanager
    def served(told: Callable[[Any], str]) -> Iterator[list[bytes]]:
        asked: list[bytes] = []

        def answer(link: socket.socket) -> None:
            head, _, body = peers.request(link).partition(b"\r\n\r\n")
            asked.append(head.split(b"\r\n")[0])
            text = told(json.loads(body or b"null"))
            link.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{text}".encode())

        with peers.serving(tmp_path, answer) as path:

            @contextmanager
            def to(*_: object) -> Iterator[Road]:
                yield Road(lambda: nullcontext(path), lambda: nullcontext(0))

            monkeypatch.setattr(road, "to", to)
            yield asked

    return served


@pytest.fixture(scope="module")
def engine() -> Any:
    return load.load(paths.DEFAULT_HUB, target="lab").instance("ollama@private-ai")


def event(text: str | None) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"


def test_a_models_names_are_read_below_the_path_that_its_engine_says(at: Any, engine: Any) -> None:
    with at(lambda _: '{"data": [{"id": "qwen:1b", "owned_by": "me"}, {"id": "mine:latest"}]}') as asked:
        there = engines.listed(None, engine)  # type: ignore[arg-type]
    assert asked == [b"GET /v1/models HTTP/1.1"]
    assert engines.has(there, CHAT, "anything")
    assert engines.has(there, CHAT.model_copy(update={"weights": "mine"}), "anything")
    assert not engines.has(there, CHAT.model_copy(update={"weights": "other"}), "anything")
    assert engines.has(None, CHAT, "anything"), "an engine without a list serves what it was started with"


def test_words_that_come_one_by_one_are_counted_until_the_end(at: Any, engine: Any) -> None:
    stream = ": comment\n\n" + event(None) + event("one") + event(" two") + event("") + "data: [DONE]\n\n"
    with at(lambda body: stream if body["stream"] and body["model"] == "qwen:1b" else "") as asked:
        speed = engines.measure(None, engine, CHAT)  # type: ignore[arg-type]
    assert asked == [b"POST /v1/chat/completions HTTP/1.1"]
    assert speed.parts == 2
    assert speed.first > 0


def test_a_model_that_says_nothing_has_failed(at: Any, engine: Any) -> None:
    with at(lambda _: "data: [DONE]\n\n"), pytest.raises(TaskFailed, match="answered without a word"):
        engines.measure(None, engine, CHAT)  # type: ignore[arg-type]


@pytest.mark.parametrize("told", ['{"data": []}', '{"data": [{"embedding": []}]}', '{"error": "no"}'])
def test_a_text_without_a_vector_is_an_error(at: Any, engine: Any, told: str) -> None:
    with at(lambda _: told), pytest.raises(TaskFailed):
        engines.measure(None, engine, EMBEDDING)  # type: ignore[arg-type]


def test_vectors_are_counted(at: Any, engine: Any) -> None:
    with at(lambda _: '{"data": [{"embedding": [0.1, 0.2]}]}') as asked:
        assert engines.measure(None, engine, EMBEDDING).parts == 9  # type: ignore[arg-type]
    assert set(asked) == {b"POST /v1/embeddings HTTP/1.1"}
