"""Connections to a service: the name is checked, and a library that can't check one goes through a relay."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from aihub.errors import BadAnswer, TaskFailed, Unreachable
from aihub.services import wire

from . import peers

WHERE = "example@db"


def echo(link: socket.socket) -> None:
    while part := link.recv(65536):
        link.sendall(part)


def answered(link: socket.socket) -> bytes:
    """What comes back of a word."""
    link.sendall(b"hello")
    return link.recv(5)


def heard(link: socket.socket, text: bytes) -> bytes:
    """What comes back of a long text, sent meanwhile: of a plain socket, since one in TLS is for one thread only."""
    sender = threading.Thread(target=link.sendall, args=(text,))
    sender.start()
    found = b""
    while len(found) < len(text) and (part := link.recv(65536)):
        found += part
    sender.join()
    return found


def test_a_plain_connection_leads_there(tmp_path: Path) -> None:
    with peers.serving(tmp_path, echo) as path, wire.connected(path, WHERE) as link:
        assert answered(link) == b"hello"


def test_a_server_that_proves_its_name_is_spoken_to(tmp_path: Path) -> None:
    with (
        peers.serving(tmp_path, echo, peers.tls(tmp_path)) as path,
        wire.connected(path, WHERE, peers.identity(tmp_path)) as link,
    ):
        assert answered(link) == b"hello"


STRANGERS = pytest.mark.parametrize(
    ("shown", "hub"),
    [(f"other.{peers.DOMAIN}", "small"), (peers.NAME, "another")],
    ids=["another name", "another authority"],
)


@STRANGERS
def test_a_server_that_is_another_one_is_not(tmp_path: Path, shown: str, hub: str) -> None:
    with (
        peers.serving(tmp_path, echo, peers.tls(tmp_path, shown, hub)) as path,
        pytest.raises(TaskFailed, match="no certificate of this hub for its name"),
        wire.connected(path, WHERE, peers.identity(tmp_path)),
    ):
        pass


def test_nobody_behind_the_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="does not answer") as raised, wire.connected(tmp_path / "none", WHERE):
        pass
    assert raised.value.where == WHERE


def library(path: Path, text: bytes) -> bytes:
    """As a library does: its own connection, its own error."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(str(path))
        link.sendall(text)
        found = link.recv(65536)
        if not found:
            raise ConnectionError("closed by the server")
        return found


def test_a_relay_is_spoken_to_plainly_and_speaks_tls(tmp_path: Path) -> None:
    with (
        peers.serving(tmp_path, echo, peers.tls(tmp_path)) as path,
        wire.relayed(path, WHERE, peers.identity(tmp_path)) as near,
    ):
        assert library(near, b"hello") == b"hello"
        assert library(near, b"again") == b"again"
        assert near.parent.stat().st_mode & 0o77 == 0
    assert not near.parent.exists()


def test_a_relay_passes_on_what_is_larger_than_any_buffer(tmp_path: Path) -> None:
    text = bytes(range(256)) * 4096
    with (
        peers.serving(tmp_path, echo, peers.tls(tmp_path)) as path,
        wire.relayed(path, WHERE, peers.identity(tmp_path)) as near,
        socket.socket(socket.AF_UNIX) as link,
    ):
        link.settimeout(5)
        link.connect(str(near))
        assert heard(link, text) == text


@STRANGERS
def test_a_relay_says_that_the_server_is_another_one_in_place_of_the_library(
    tmp_path: Path, shown: str, hub: str
) -> None:
    with (
        peers.serving(tmp_path, echo, peers.tls(tmp_path, shown, hub)) as path,
        pytest.raises(TaskFailed, match="no certificate of this hub for its name"),
        wire.relayed(path, WHERE, peers.identity(tmp_path)) as near,
    ):
        library(near, b"hello")


def test_a_relay_leaves_other_errors_as_they_are(tmp_path: Path) -> None:
    with (
        peers.serving(tmp_path, echo, peers.tls(tmp_path)) as path,
        pytest.raises(ValueError, match="mine"),
        wire.relayed(path, WHERE, peers.identity(tmp_path)) as near,
    ):
        library(near, b"hello")
        raise ValueError("mine")


def test_a_relay_ends_at_once_with_connections_open(tmp_path: Path) -> None:
    with peers.serving(tmp_path, echo, peers.tls(tmp_path)) as path:
        with (
            wire.relayed(path, WHERE, peers.identity(tmp_path)) as near,
            socket.socket(socket.AF_UNIX) as link,
        ):
            link.connect(str(near))
            link.sendall(b"x")
            link.recv(1)
            began = time.monotonic()
        assert time.monotonic() - began < 2
    assert not [one for one in threading.enumerate() if one.name.startswith("relay")]


def test_a_port_leads_to_a_port_within_the_same_bounds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            link, _ = server.accept()
            with link:
                link.sendall(link.recv(5))
                endless(link)

        speaker = threading.Thread(target=talk)
        speaker.start()
        with (
            pytest.raises(BadAnswer, match="says more than 1 MiB"),
            wire.relayed_port(server.getsockname()[1], WHERE, wire.Bounds(total=1 << 20)) as port,
            socket.create_connection(("127.0.0.1", port), 5) as link,
        ):
            assert answered(link) == b"hello"
            link.sendall(b"more")
            while link.recv(65536):
                pass
            raise ConnectionError("closed by the server")
        speaker.join()


def test_a_port_that_leads_nowhere_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    with (
        pytest.raises(Unreachable, match="does not answer"),
        wire.relayed_port(closed, WHERE) as port,
        socket.create_connection(("127.0.0.1", port), 5) as link,
    ):
        if not link.recv(1):
            raise ConnectionError("closed by the server")


def swallow(path: Path) -> None:
    """As a library does that takes whatever it is told."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(str(path))
        link.sendall(b"hello")
        while link.recv(65536):
            pass
        raise ConnectionError("closed by the server")


def silent(over: threading.Event) -> None:
    """A server that says nothing."""
    over.wait(10)


def endless(link: socket.socket) -> None:
    """A server that never stops talking."""
    link.recv(16)
    with suppress(OSError):
        while True:
            link.sendall(bytes(65536))


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "plain"])
@pytest.mark.parametrize("bound", ["total", "answer"])
def test_a_relay_takes_no_more_than_it_may(tmp_path: Path, tls: bool, bound: str) -> None:
    with (
        peers.serving(tmp_path, endless, peers.tls(tmp_path) if tls else None) as path,
        pytest.raises(BadAnswer, match="says more than 1 MiB"),
        wire.relayed(path, WHERE, peers.identity(tmp_path) if tls else None, wire.Bounds(**{bound: 1 << 20})) as near,
    ):
        swallow(near)


def test_a_relay_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    over = threading.Event()
    with (
        peers.serving(tmp_path, lambda link: silent(over)) as path,
        pytest.raises(Unreachable, match="says nothing"),
        wire.relayed(path, WHERE, bounds=wire.Bounds(silence=0.3)) as near,
    ):
        try:
            swallow(near)
        finally:
            over.set()


def test_an_answer_that_drips_ends_when_its_time_is_up(tmp_path: Path) -> None:
    """Each byte is in time, and all of them are not."""
    over = threading.Event()

    def drip(link: socket.socket) -> None:
        link.recv(16)
        while not over.wait(0.05):
            link.sendall(b"x")

    began = time.monotonic()
    with (
        peers.serving(tmp_path, drip) as path,
        pytest.raises(Unreachable, match="no whole answer within"),
        wire.relayed(path, WHERE, bounds=wire.Bounds(whole=0.4)) as near,
    ):
        try:
            swallow(near)
        finally:
            over.set()
    assert time.monotonic() - began < 3


def test_each_question_has_an_answer_of_its_own(tmp_path: Path) -> None:
    """What is bounded for one is not for all of a long conversation."""
    bounds = wire.Bounds(answer=64, whole=0.4)
    with (
        peers.serving(tmp_path, echo) as path,
        wire.relayed(path, WHERE, bounds=bounds) as near,
        socket.socket(socket.AF_UNIX) as link,
    ):
        link.settimeout(5)
        link.connect(str(near))
        for _ in range(10):
            assert answered(link) == b"hello"
            time.sleep(0.06)
        assert heard(link, b"x" * 60) == b"x" * 60


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "plain"])
def test_a_relay_loses_nothing_of_a_server_that_answers_and_hangs_up(tmp_path: Path, tls: bool) -> None:
    """As Docker does with the output of a command."""
    text = bytes(range(256)) * 200

    def last_words(link: socket.socket) -> None:
        link.recv(16)
        link.sendall(text)

    with (
        peers.serving(tmp_path, last_words, peers.tls(tmp_path) if tls else None) as path,
        wire.relayed(path, WHERE, peers.identity(tmp_path) if tls else None) as near,
    ):
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(5)
                link.connect(str(near))
                link.sendall(b"hello")
                found = b""
                while part := link.recv(65536):
                    found += part
                assert found == text
