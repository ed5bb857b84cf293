"""Commands in containers: a Docker that answers as the real one does, in pieces of any size."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aihub.errors import HubError, TaskFailed, Unreachable
from aihub.guests import containers
from docker.models.containers import Container

HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\r\n"


def frame(kind: int, text: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(text)) + text


class Docker:
    """Answers what an exec takes. What the command says is sent in the pieces that a test asks for."""

    def __init__(self, path: Path) -> None:
        self.pieces: list[bytes] = []
        self.inspected: list[dict[str, Any]] = []
        self.refusal = b""
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._accepts = threading.Thread(target=self._serve, daemon=True)
        self._accepts.start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(link,), daemon=True).start()

    def _talk(self, link: socket.socket) -> None:
        with link, link.makefile("rb") as asked:
            while line := asked.readline().decode():
                headers = {}
                while (header := asked.readline().decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                asked.read(int(headers.get("content-length", 0)))
                path = line.split()[1]
                if path.endswith("/start") and not self.refusal:
                    head = HEAD % (b"101 UPGRADED" if "upgrade" in headers else b"200 OK")
                    first, *rest = self.pieces
                    link.sendall(head + first)
                    for piece in rest:
                        link.sendall(piece)
                    return
                link.sendall(self._answer(path))

    def _answer(self, path: str) -> bytes:
        found: Any = {"Id": "e1"}
        status = b"200 OK"
        if path.endswith("/start"):
            found, status = {"message": self.refusal.decode()}, b"409 Conflict"
        elif path.endswith("/exec/e1/json"):
            found = self.inspected.pop(0) if len(self.inspected) > 1 else self.inspected[0]
        elif path.endswith("/version"):
            found = {"ApiVersion": "1.44"}
        text = json.dumps(found).encode()
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        return head % (status, len(text)) + text

    def close(self) -> None:
        """Ends its thread first: a thread on its way to `accept` would serve whoever gets the closed number next."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._accepts.join()
        self._server.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Docker]:
    made = Docker(tmp_path / "docker.sock")
    made.inspected = [{"Running": False, "ExitCode": 0}]
    yield made
    made.close()


@pytest.fixture
def container(engine: Docker, tmp_path: Path) -> Iterator[Container]:
    client = containers.connect(tmp_path / "docker.sock")
    yield Container({"Id": "c1", "Name": "/canary-1"}, client, client.containers)
    client.close()


LINE = frame(1, b"21 0 0 0 99\n")


@pytest.mark.parametrize(
    "pieces",
    [[LINE], [b"", LINE], [LINE[:3], LINE[3:]], [LINE[:10], LINE[10:]], [LINE[:8] + b"21", LINE[10:]]],
    ids=["with the head", "after the head", "header cut", "text cut", "a part with the head"],
)
def test_output_is_whole_however_it_comes(engine: Docker, container: Container, pieces: list[bytes]) -> None:
    engine.pieces = pieces
    assert containers.execute(container, ["cat", "count"]) == "21 0 0 0 99\n"


def test_the_sdk_s_own_way_loses_what_comes_with_the_head(engine: Docker, container: Container) -> None:
    """Why there is `execute`: once this fails, the SDK is mended and `exec_run` may take its place."""
    engine.pieces = [LINE]
    assert tuple(container.exec_run(["cat", "count"])) == (0, b"")


def test_errors_are_no_output(engine: Docker, container: Container) -> None:
    engine.pieces = [frame(2, b"warning\n"), frame(1, b"a"), frame(2, b"more\n"), frame(1, b"b")]
    assert containers.execute(container, ["x"]) == "ab"


def test_no_output_is_an_answer_when_the_command_ended_well(engine: Docker, container: Container) -> None:
    engine.pieces = [b""]
    assert containers.execute(container, ["true"]) == ""


def test_an_exit_code_other_than_0_says_which_and_why(engine: Docker, container: Container) -> None:
    engine.pieces = [frame(2, b"no such file\n")]
    engine.inspected = [{"Running": False, "ExitCode": 1}]
    with pytest.raises(TaskFailed, match="canary-1: cat ended with exit code 1\nno such file"):
        containers.execute(container, ["cat", "count"])


def test_the_exit_code_may_come_after_the_output(engine: Docker, container: Container) -> None:
    engine.pieces = [LINE]
    engine.inspected = [{"Running": True, "ExitCode": None}] * 2 + [{"Running": False, "ExitCode": 7}]
    with pytest.raises(TaskFailed, match="exit code 7"):
        containers.execute(container, ["cat"])


@pytest.mark.parametrize("cut", [LINE[:5], LINE[:12], LINE + LINE[:9]])
def test_output_that_breaks_off_is_no_answer(engine: Docker, container: Container, cut: bytes) -> None:
    engine.pieces = [cut]
    with pytest.raises(Unreachable, match="broke off"):
        containers.execute(container, ["cat"])


def test_output_of_a_command_that_goes_on_is_no_answer(
    engine: Docker, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "_SETTLE_SECONDS", 0.1)
    engine.pieces = [LINE]
    engine.inspected = [{"Running": True, "ExitCode": None}]
    with pytest.raises(Unreachable, match="goes on"):
        containers.execute(container, ["cat"])


def test_a_container_that_restarts_is_named(engine: Docker, container: Container) -> None:
    engine.refusal = b"container c1 is not running"
    with pytest.raises(HubError, match=r"canary-1: Docker refused: .*is not running"):
        containers.execute(container, ["cat"])


def test_no_check_asks_the_sdk_by_itself() -> None:
    root = Path(__file__).resolve().parents[4]
    sources = [*root.glob("stacks/*/*.py"), *root.glob("tests/cases/stacks/*/*.py"), *root.glob("python/aihub/**/*.py")]
    assert not [str(path) for path in sources if ".exec_run(" in path.read_text()]
