"""Logs are told line by line: harmless to a terminal, without secrets, and no longer than somebody listens."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import capture
from aihub.bundle import bundle
from aihub.errors import BadAnswer, Unreachable
from aihub.guests import logs
from aihub.guests.logs import on_guest
from aihub.ssh import connection
from aihub.state.directory import State

PASSWORD = "Tr0ub4dor-and-3"
PROGRAM = Path(on_guest.__file__)


class Guest:
    """A guest's programs, as this machine runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "run" / "notes").mkdir(parents=True)
        (folder / "run" / "notes" / "api_key").write_text(PASSWORD)
        (folder / "run" / "notes" / "ca.pem").write_text("BEGIN CERTIFICATE\n")
        self.has("journalctl", "echo unit of $*")
        self.has("docker", "echo container of $*")

    def has(self, name: str, script: str) -> None:
        """A program of the guest."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def start(self, **request: Any) -> subprocess.Popen[bytes]:
        """The program, started with a request."""
        text = bundle(PROGRAM).decode().replace('"/run/hub"', f'"{self.folder}/run"')
        (self.folder / "program.py").write_text(text)
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(self.folder / "program.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin"},
        )
        assert child.stdin
        child.stdin.write(json.dumps({"stack": "notes", "lines": 5, "follow": False, **request}).encode())
        child.stdin.close()
        return child

    def says(self, **request: Any) -> list[str]:
        """All that the program answers."""
        with self.start(**request) as child:
            assert child.stdout
            return child.stdout.read().decode().splitlines()


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_an_instance_tells_of_its_unit_then_of_its_containers(guest: Guest):
    unit, container, end = guest.says()
    assert unit.startswith("=unit of")
    assert "--lines=5 --unit=hub-notes.service" in unit
    assert "container of compose --project-name notes logs" in container
    assert "--tail=5" in container
    assert end == "."


def test_a_guest_tells_of_its_journal(guest: Guest):
    journal, end = guest.says(stack="")
    assert "--unit" not in journal
    assert end == "."


@pytest.mark.parametrize("stack", ["notes", ""])
def test_values_of_secrets_stay_on_the_guest(guest: Guest, stack: str):
    guest.has("journalctl", f"echo logs in with {PASSWORD}; printf 'and again {PASSWORD}'")
    told = guest.says(stack=stack)
    assert told[:2] == ["=logs in with (api_key)", "=and again (api_key)"]


def test_a_line_without_an_end_is_cut_and_ends(guest: Guest):
    guest.has("journalctl", "head -c 3000000 /dev/zero | tr '\\\\0' x")
    told = guest.says(stack="")
    assert len(told[0]) == 2001
    assert told[1:] == ["."]


def test_who_follows_hears_both_and_the_program_ends_with_its_listener(guest: Guest):
    guest.has("journalctl", "echo first; exec sleep 600")
    guest.has("docker", "echo second; exec sleep 600")
    with guest.start(follow=True) as child:
        assert child.stdout
        assert {child.stdout.readline(), child.stdout.readline()} == {b"=first\n", b"=second\n"}
        child.stdout.close()
        limit = time.monotonic() + 20
        while child.poll() is None:
            assert time.monotonic() < limit, "it goes on though nobody listens"
            time.sleep(0.1)


def answering(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> State:
    @contextmanager
    def streamed(*_: Any, timeout: float, most: int, **__: Any) -> Iterator[capture.Stream]:
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as feed:
            assert feed.stdin
            assert feed.stdout
            feed.stdin.write(answer)
            feed.stdin.close()
            stream = capture.Stream(["cat"], stdin=feed.stdout.fileno(), timeout=timeout, most=most)
            try:
                yield stream
            except EOFError as error:
                raise Unreachable("it ended too early", where="app") from error
            finally:
                stream.close()

    monkeypatch.setattr(connection, "streamed", streamed)
    return SimpleNamespace()  # type: ignore[return-value]


def test_what_steers_a_terminal_becomes_blanks(monkeypatch: pytest.MonkeyPatch):
    state = answering(monkeypatch, "=\x1b[2Jgone\u202e\r\x07 and  kept\n.\n".encode())
    assert list(logs.told(state, "app")) == [" [2Jgone    and  kept"]


def test_an_answer_that_ends_too_early_is_no_whole_one(monkeypatch: pytest.MonkeyPatch):
    told = logs.told(answering(monkeypatch, b"=one\n"), "app")
    assert next(told) == "one"
    with pytest.raises(Unreachable):
        next(told)


def test_an_answer_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(BadAnswer):
        list(logs.told(answering(monkeypatch, b"hello\n.\n"), "app"))
