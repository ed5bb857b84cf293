"""Why an instance does not run is told in its own last words: bounded, harmless to a terminal, without its secrets."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from types import SimpleNamespace
from typing import Any

import pytest
from aihub.errors import Unreachable
from aihub.guests import last_words
from aihub.guests.hidden import on_guest as hidden
from aihub.guests.last_words import on_guest
from aihub.ssh import connection
from aihub.state.directory import State

PASSWORD = "Tr0ub4dor-and-3"


def frame(text: bytes) -> bytes:
    """A piece of output as Docker sends it."""
    return struct.pack(">BxxxL", 2, len(text)) + text


class Docker:
    """A Docker that answers over a socket."""

    def __init__(self) -> None:
        self.containers: dict[str, tuple[dict[str, Any], bytes]] = {}

    def has(self, name: str, logs: bytes, **state: Any) -> None:
        """A container of the stack."""
        known = {"Status": "running", "Running": True, "Restarting": False, "ExitCode": 0, "Error": ""}
        self.containers[name] = ({"Config": {"Tty": False}, "State": {**known, **state}}, logs)

    def answer(self, path: str) -> bytes:
        parts = path.partition("?")[0].split("/")
        if parts[2] == "json":
            return json.dumps([{"Names": [f"/{name}"], "Id": name} for name in self.containers]).encode()
        about, logs = self.containers[parts[2]]
        return logs if parts[3] == "logs" else json.dumps(about).encode()


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Docker]:
    """What the guest's program finds: Docker, a unit's journal, a secret file."""
    made = Docker()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = made.answer(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...
        def address_string(self) -> str:
            return "guest"

    server = ThreadingUnixStreamServer(str(tmp_path / "docker.sock"), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "journalctl").write_text(f"#!/bin/sh\necho 'it said {PASSWORD}'\n")
    (tmp_path / "bin" / "journalctl").chmod(0o755)
    (tmp_path / "run" / "notes").mkdir(parents=True)
    (tmp_path / "run" / "notes" / "postgres_main_login").write_text(f"notes_main_a\n{PASSWORD}")
    (tmp_path / "run" / "notes" / "ca.pem").write_text("container\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr(on_guest, "DOCKER_SOCKET", str(tmp_path / "docker.sock"))
    monkeypatch.setattr(hidden, "SECRETS", str(tmp_path / "run"))
    yield made
    server.shutdown()
    server.server_close()


def test_a_container_that_ended_says_its_last_lines(docker: Docker) -> None:
    docker.has(
        "notes-notes-1",
        frame(b"begins\n") + frame(b"no database: \x1b[31mgiving up\n"),
        Status="exited",
        Running=False,
        ExitCode=3,
    )
    assert on_guest.words("notes")[2:] == [
        "container notes-notes-1 (exited, exit code 3) said:",
        "  begins",
        "  no database: \x1b[31mgiving up",
    ]


def test_a_container_that_is_not_healthy_says_what_its_check_said(docker: Docker) -> None:
    log = [{"ExitCode": 0, "Output": "fine"}, {"ExitCode": 1, "Output": "connection refused\n"}]
    docker.has("notes-notes-1", frame(b"runs\n"), Health={"Status": "unhealthy", "Log": log})
    docker.has("notes-side-1", frame(b"nothing to see\n"), Health={"Status": "healthy", "Log": []})
    docker.has("notes-plain-1", frame(b"nothing to see\n"))
    assert on_guest.words("notes")[2:] == [
        "container notes-notes-1 (running, unhealthy) said:",
        "  runs",
        "its health check (exit code 1) said:",
        "  connection refused",
    ]


def test_secrets_are_taken_out_wherever_they_were_printed(docker: Docker) -> None:
    log = [{"ExitCode": 1, "Output": f"psql://notes_main_a:{PASSWORD}@db"}]
    docker.has("notes-notes-1", frame(f"{'x' * 290}{PASSWORD}\n".encode()), Health={"Status": "unhealthy", "Log": log})
    told = "\n".join(on_guest.words("notes"))
    assert PASSWORD not in told
    assert PASSWORD[:6] not in told, "the width of a line cuts no secret in two"
    assert told.count("(postgres_main_login)") >= 3
    assert "container notes-notes-1" in told, "whom to trust is no secret"


def test_what_is_told_is_bounded(docker: Docker) -> None:
    docker.has("notes-notes-1", frame(b"y" * 1_000_000) * 3, Status="exited", Running=False)
    docker.has("notes-other-1", b"".join(frame(b"line\n") for _ in range(5000)), Status="exited", Running=False)
    told = on_guest.words("notes")
    assert max(map(len, told)) <= on_guest.WIDTH
    assert len(told) < 3 * on_guest.LOG_LINES


def test_without_docker_the_unit_speaks_for_it(docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_guest, "DOCKER_SOCKET", str(tmp_path / "none"))
    told = on_guest.words("notes")
    assert told[:2] == ["its unit said:", "  it said (postgres_main_login)"]
    assert "can't be looked at" in told[2]


@pytest.mark.parametrize("answer", [{"words": {"notes": ["\x1b[2Jone", "two\rthree"]}}, {"words": None}, {}, []])
def test_what_a_guest_answers_is_only_text(answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(stdout=json.dumps(answer).encode())
    monkeypatch.setattr(connection, "run", lambda *_, **__: run)
    told = last_words.told(State(tmp_path), "app", ["notes"])["notes"]
    assert told
    assert all(character.isprintable() or character == "\n" for character in told)


def test_a_guest_that_is_silent_now_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any, **__: Any) -> Any:
        raise Unreachable("no ssh", where="app")

    monkeypatch.setattr(last_words.ssh, "ask", silent)
    assert last_words.told(State(tmp_path), "app", ["notes"]) == {"notes": "its last words are not known: app: no ssh"}
