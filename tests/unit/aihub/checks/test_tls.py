"""What answers behind a door is asked as a consumer would: under its name, and trusting the hub's authority alone."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from aihub.checks import tls
from aihub.vault.certificates import listener, new_root

NAME = "app.hub.home.arpa"


class Handler(http.server.BaseHTTPRequestHandler):
    """Says what it was asked."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = json.dumps({"path": self.path, "host": self.headers["Host"], "body": json.loads(body)}).encode()
        self.send_response(200 if self.path == "/" else 403)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A server on the loopback with a certificate for NAME, signed by `ca.pem`."""
    root = new_root("hub", "hub.home.arpa")
    own = listener(root, NAME)
    (tmp_path / "ca.pem").write_text(root.certificate)
    (tmp_path / "other.pem").write_text(new_root("hub", "hub.home.arpa").certificate)
    (tmp_path / "tls.pem").write_text(own.key + own.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_an_answer_comes_under_the_name_and_by_way_of_the_port(port: int, tmp_path: Path) -> None:
    found = tls.ask(port, f"https://{NAME}:8000/", tmp_path / "ca.pem", "POST", {"a": 1})
    assert found == {"path": "/", "host": f"{NAME}:8000", "body": {"a": 1}}


def test_a_refusal_is_an_error_with_its_code(port: int, tmp_path: Path) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        tls.ask(port, f"https://{NAME}:8000/reset", tmp_path / "ca.pem", "POST", {})
    refused.value.close()
    assert refused.value.code == 403


@pytest.mark.parametrize(("name", "ca"), [("other.hub.home.arpa", "ca.pem"), (NAME, "other.pem")])
def test_another_name_and_another_authority_are_not_trusted(port: int, tmp_path: Path, name: str, ca: str) -> None:
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        tls.ask(port, f"https://{name}:8000/", tmp_path / ca, "POST", {})
