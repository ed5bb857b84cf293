"""What the vault's guest answers is bounded, whoever answers there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from aihub.vault import wire

from tests.unit.aihub.services import peers


@pytest.fixture
def session(tmp_path: Path) -> Iterator[requests.Session]:
    found = wire.session(tmp_path / "peer", peers.identity(tmp_path).ca)
    yield found
    found.close()


def test_an_answer_is_taken_whole_and_the_connection_kept(tmp_path: Path, session: requests.Session) -> None:
    asked: list[bytes] = []
    identity = peers.identity(tmp_path)
    with peers.serving(tmp_path, peers.http(b'{"a": 1}', asked=asked), peers.tls(tmp_path)):
        for _ in range(2):
            assert session.get(f"https://{identity.name}/v1/x", timeout=5).json() == {"a": 1}
    assert b"identity" in asked[0]


def test_an_endless_answer_is_ended(tmp_path: Path, session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST", 1 << 20)
    identity = peers.identity(tmp_path)
    with (
        peers.serving(tmp_path, peers.http(bytes(2 << 20)), peers.tls(tmp_path)),
        pytest.raises(requests.ConnectionError, match="more than 1 MiB"),
    ):
        session.get(f"https://{identity.name}/v1/x", timeout=5)


def test_an_answer_that_drips_is_ended(
    tmp_path: Path, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SECONDS", 0.5)
    identity = peers.identity(tmp_path)

    def drip(link) -> None:
        peers.request(link)
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            link.sendall(b" ")
            time.sleep(0.05)

    began = time.monotonic()
    with (
        pytest.raises(requests.ConnectionError, match="within 0 s"),
        peers.serving(tmp_path, drip, peers.tls(tmp_path)),
    ):
        session.get(f"https://{identity.name}/v1/x", timeout=5)
    assert time.monotonic() - began < 6
