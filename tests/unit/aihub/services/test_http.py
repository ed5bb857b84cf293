"""A reconcile.py's HTTP client: who answers is proven, and what is answered is bounded, checked data."""

from __future__ import annotations

import base64
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from aihub.errors import HubError, PreconditionFailed, TaskFailed, Unreachable
from aihub.services import http
from aihub.services.http import Http, RefusedByService
from aihub.services.wire import Identity

from . import peers

pytestmark = pytest.mark.slow  # each takes up to seconds; `make test` has them

WHERE = "example@db"


@dataclass(frozen=True)
class Thing:
    """What a service of the tests keeps."""

    name: str
    size: int = 0


def client(path: Path, identity: Identity | None = None, **options: object) -> closing[Http]:
    return closing(Http(path, WHERE, identity, **options))


def asked(tmp_path: Path, answer: peers.Answer, **options: object) -> Thing:
    with peers.serving(tmp_path, answer) as path, client(path, **options) as service:
        return service.get("/thing", Thing)


# -- what it says


def test_a_value_comes_out_in_its_shape_and_what_is_beside_it_is_left_out(tmp_path: Path) -> None:
    assert asked(tmp_path, peers.http(b'{"name": "a", "size": 3, "more": [1]}')) == Thing("a", 3)


def test_a_request_carries_json_headers_and_login_and_nothing_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    got: list[bytes] = []
    with (
        peers.serving(tmp_path, peers.http(b'{"name": "a"}', asked=got)) as path,
        client(path, headers={"X-Key": "k"}, login=("me", "word")) as service,
    ):
        assert service.ask("PUT", "/things/a", {"size": 3}, Thing) == Thing("a")
        service.send("DELETE", "/things/a")
        service.form("/token", {"grant": "client credentials"}, Thing)
        service.get("/things", Thing, first="0")
    put, delete, form, get = got
    assert put.startswith(b"PUT /things/a HTTP/1.1\r\n")
    assert put.endswith(b'{"size":3}')
    assert b"content-type: application/json" in put.lower()
    assert b"x-key: k" in put.lower()
    assert base64.b64encode(b"me:word") in put
    assert b"accept-encoding: identity" in put.lower()
    assert delete.startswith(b"DELETE /things/a ")
    assert form.endswith(b"grant=client+credentials")
    assert get.startswith(b"GET /things?first=0 ")


def test_what_is_not_there_is_none_where_that_is_asked_for(tmp_path: Path) -> None:
    with peers.serving(tmp_path, peers.http(b"", "404 Not Found")) as path, client(path) as service:
        assert service.find("/thing", Thing) is None
        with pytest.raises(RefusedByService) as raised:
            service.get("/thing", Thing)
    assert (raised.value.status, raised.value.where) == (404, WHERE)


@pytest.mark.parametrize("status", ["302 Found", "401 Unauthorized", "500 Internal Server Error"])
def test_anything_but_success_is_a_refusal_with_its_status(tmp_path: Path, status: str) -> None:
    with pytest.raises(RefusedByService, match=f"answered {status[:3]} to GET /thing: so it") as raised:
        asked(tmp_path, peers.http(b"so\nit\x1b[31m is", status, headers="Location: http://elsewhere/\r\n"))
    assert raised.value.status == int(status[:3])
    assert "\x1b" not in str(raised.value)


def test_a_refusal_does_not_repeat_what_was_sent(tmp_path: Path) -> None:
    body = {"user": {"password": "correct-horse"}, "keys": ["battery-staple"]}
    echo = b'no: correct-horse, battery-staple, stapled-key, "word-of-mine"'
    with (
        peers.serving(tmp_path, peers.http(echo, "400 Bad Request")) as path,
        client(path, headers={"X-Key": "stapled-key"}, login=("me", "word-of-mine")) as service,
        pytest.raises(RefusedByService) as raised,
    ):
        service.send("POST", "/users", body)
    assert str(raised.value).endswith('no: ***, ***, ***, "***"')


# -- what it may say


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b'{"size": 3}', b'{"name": 3}', b'{"name": "a", "size": "3"}', b"<html>", b"[" * 100000],
)
def test_an_answer_of_another_shape_is_an_error_without_its_content(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(TaskFailed, match="its answer to /thing is another than expected") as raised:
        asked(tmp_path, peers.http(text))
    assert raised.value.where == WHERE
    assert len(str(raised.value)) < 300


def test_an_answer_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST", 1 << 20)

    def endless(link: socket.socket) -> None:
        peers.request(link)
        link.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            link.sendall(b" " * 65536)

    with pytest.raises(TaskFailed, match="longer than 1 MiB"):
        asked(tmp_path, endless)


def test_a_small_answer_cannot_unfold_to_a_large_one(tmp_path: Path) -> None:
    """Nothing is unpacked: what was not asked for is read as it came."""
    with pytest.raises(TaskFailed, match="another than expected"):
        asked(tmp_path, peers.http(b"\x1f\x8b\x08", headers="Content-Encoding: gzip\r\n"))


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_answer_that_drips_ends_when_its_time_is_up(tmp_path: Path, start: bytes) -> None:
    """Each byte is in time, and all of them are not."""

    def drip(link: socket.socket) -> None:
        peers.request(link)
        link.sendall(start)
        for _ in range(100):
            time.sleep(0.05)
            link.sendall(b"x")

    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"no whole answer to /thing within 0 s|timed out"):
        asked(tmp_path, drip, seconds=0.4)
    assert time.monotonic() - began < 3


def test_silence_is_no_answer(tmp_path: Path) -> None:
    def silent(link: socket.socket) -> None:
        peers.request(link)
        link.recv(1)

    with pytest.raises(Unreachable):
        asked(tmp_path, silent, seconds=0.2)


def test_a_forward_that_leads_nowhere_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        asked(tmp_path, lambda link: None)


# -- lines


def lines(*parts: bytes) -> peers.Answer:
    def answer(link: socket.socket) -> None:
        peers.request(link)
        link.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for part in parts:
            link.sendall(part)
            time.sleep(0.05)

    return answer


def test_lines_come_as_they_are_sent_however_they_are_cut(tmp_path: Path) -> None:
    parts = (b'{"name": "a"}\n{"na', b'me": "b"}\r\n\n', b'{"name": "c"}')
    with peers.serving(tmp_path, lines(*parts)) as path, client(path) as service:
        found = list(service.lines("POST", "/pull", {"model": "m"}, Thing, silence=2))
    assert [one.name for one in found] == ["a", "b", "c"]


def test_a_line_is_given_before_the_next_one_comes(tmp_path: Path) -> None:
    def answer(link: socket.socket) -> None:
        peers.request(link)
        link.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"name": "a"}\n')
        link.recv(1)

    with peers.serving(tmp_path, answer) as path, client(path) as service:
        coming = service.lines("POST", "/pull", {}, Thing, silence=0.2)
        assert next(coming) == Thing("a")
        with pytest.raises(Unreachable):
            next(coming)


def test_lines_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "STREAM", 40)
    with (
        peers.serving(tmp_path, lines(*[b'{"name": "a"}\n'] * 5)) as path,
        client(path) as service,
        pytest.raises(TaskFailed, match="longer than"),
    ):
        list(service.lines("POST", "/pull", {}, Thing, silence=2))


def test_a_line_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_LINE", 40)
    with (
        peers.serving(tmp_path, lines(b" " * 30, b" " * 30)) as path,
        client(path) as service,
        pytest.raises(TaskFailed, match="has no end"),
    ):
        list(service.lines("POST", "/pull", {}, Thing, silence=2))


# -- who says it


def over_tls(tmp_path: Path, shown: str, hub: str = "small", wanted: str = peers.NAME) -> Thing:
    with (
        peers.serving(tmp_path, peers.http(b'{"name": "a"}'), peers.tls(tmp_path, shown, hub)) as path,
        client(path, peers.identity(tmp_path, wanted)) as service,
    ):
        return service.get("/thing", Thing)


def test_a_server_that_proves_its_name_is_heard(tmp_path: Path) -> None:
    assert over_tls(tmp_path, peers.NAME) == Thing("a")


@pytest.mark.parametrize(
    ("shown", "hub"),
    [(f"other.{peers.DOMAIN}", "small"), (peers.NAME, "another")],
    ids=["another name", "another authority"],
)
def test_a_server_that_is_another_one_is_not(tmp_path: Path, shown: str, hub: str) -> None:
    with pytest.raises(TaskFailed, match="no certificate of this hub for its name") as raised:
        over_tls(tmp_path, shown, hub)
    assert not isinstance(raised.value, Unreachable)


def test_a_server_that_does_not_speak_tls_is_not_heard_where_it_should(tmp_path: Path) -> None:
    with (
        peers.serving(tmp_path, lambda link: link.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}")) as path,
        client(path, peers.identity(tmp_path)) as service,
        pytest.raises(HubError),
    ):
        service.get("/thing", Thing)


def test_a_handshake_that_drips_ends_too(tmp_path: Path) -> None:
    def drip(link: socket.socket) -> None:
        link.sendall(b"\x16\x03\x03\x40\x00")  # a record that would be long
        for _ in range(100):
            time.sleep(0.05)
            link.sendall(b"x")

    began = time.monotonic()
    with (
        peers.serving(tmp_path, drip) as path,
        client(path, peers.identity(tmp_path), seconds=0.4) as service,
        pytest.raises(Unreachable),  # whichever is first, the library's time or ours
    ):
        service.get("/thing", Thing)
    assert time.monotonic() - began < 3


def test_without_the_hub_s_authority_nobody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match="root certificate"):
        client(tmp_path / "socket", Identity(peers.NAME, tmp_path / "none.pem"))
