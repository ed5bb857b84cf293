"""Probes: real sockets on this machine's loopback, asked through a local shell."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from aihub.checks import probes
from aihub.checks.probes import Place
from aihub.checks.shell import Shell
from aihub.errors import TaskFailed


@pytest.fixture
def shell() -> Iterator[Shell]:
    made = Shell("db", ["sh"])
    yield made
    made.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_a_connect_tells_open_from_refused(shell: Shell, listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    with socket.socket() as idle:
        idle.bind(("127.0.0.1", 0))
        free = idle.getsockname()[1]
        found = probes.connect(shell, [Place("127.0.0.1", taken), Place("127.0.0.1", free)])
    assert found == {Place("127.0.0.1", taken): "open", Place("127.0.0.1", free): "refused"}


def test_no_places_need_no_connect() -> None:
    assert probes.connect(Shell("nowhere", ["false"]), []) == {}


def test_a_proxy_is_asked_for_a_tunnel_and_its_status_is_the_answer(shell: Shell, listener: socket.socket) -> None:
    heard: list[bytes] = []

    def answer() -> None:
        link, _ = listener.accept()
        with link:
            heard.append(link.recv(4096))
            link.sendall(b"HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\n")

    server = threading.Thread(target=answer)
    server.start()
    place = Place("127.0.0.1", listener.getsockname()[1])
    assert probes.through_proxy(shell, place, "https://example.com/") == 403
    server.join()
    assert heard[0].startswith(b"CONNECT example.com:443 HTTP/1.1\r\n")


def test_a_probe_that_fails_says_where_and_why(shell: Shell) -> None:
    with pytest.raises(TaskFailed, match="the probe failed: ConnectionRefusedError") as raised:
        probes.through_proxy(shell, Place("127.0.0.1", 1), "https://example.com/")
    assert raised.value.where == "db"


def test_a_name_that_does_not_resolve_has_no_address(shell: Shell) -> None:
    assert probes.addresses_of(shell, "nothing.invalid") == []
    assert probes.addresses_of(shell, "localhost") == ["127.0.0.1"]


def test_who_cannot_ask_for_a_name_does_not_say_that_there_is_none() -> None:
    shell = Shell("db", ["env", "PATH=/nowhere", "/bin/sh"])
    with pytest.raises(TaskFailed, match="getent ended with exit code 127"):
        probes.addresses_of(shell, "nothing.invalid")
    shell.close()
