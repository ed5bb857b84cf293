"""TLS as a client of the hub meets it: who is trusted, which versions are spoken, and what an old client is told."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import urllib.request
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aihub.model.resolved import Instance
    from aihub.state.directory import State

LIFE_LEFT = 1 / 3  # an agent renews when two thirds are over
SECONDS = 10.0
Start = Callable[[socket.socket], None]


def certificate(port: int, name: str, ca: Path, start: Start | None = None) -> tuple[dict[str, Any], str]:
    """The certificate of a server on this machine's loopback, and the TLS version agreed on.

    Raises ssl.SSLError unless it is a certificate of `ca` for `name`.
    """
    return _connect(ssl.create_default_context(cafile=str(ca)), port, name, start)


def require_life_left(found: dict[str, Any], name: str) -> None:
    """Fails unless a certificate is for this name alone, and a third of its life is still to come."""
    assert found["subjectAltName"] == (("DNS", name),)
    begin, end = (ssl.cert_time_to_seconds(found[key]) for key in ("notBefore", "notAfter"))
    assert (end - time.time()) / (end - begin) >= LIFE_LEFT


def require_newest(found: dict[str, Any], state: State, instance: Instance) -> None:
    """Fails unless a certificate is the newest one that the agent of its guest got."""
    from aihub.secrets import agent

    told = agent.status(state, instance.guest.name).tls[f"{instance.stack.name}.tls.pem"]
    assert int(str(told["serial"]).replace(":", ""), 16) == int(found["serialNumber"], 16)


def refusal_of_old(port: int, name: str, ca: Path, start: Start | None = None) -> str:
    """What the server tells a client that speaks TLS 1.1 at most; empty when it is let in."""
    context = ssl.create_default_context(cafile=str(ca))
    context.set_ciphers("ALL:@SECLEVEL=0")  # else this side would refuse first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        _connect(context, port, name, start)
    except ssl.SSLError as error:
        return error.reason or str(error)
    return ""


class _Link(http.client.HTTPSConnection):
    """HTTPS for a name, by way of a port of this machine's loopback."""

    def __init__(self, *arguments: Any, way: int, trust: ssl.SSLContext, **options: Any) -> None:
        super().__init__(*arguments, context=trust, **options)
        self._way, self._trust = way, trust

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self._way), self.timeout)
        self.sock = self._trust.wrap_socket(plain, server_hostname=self.host)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, way: int, trust: ssl.SSLContext) -> None:
        super().__init__(context=trust)
        self._link = partial(_Link, way=way, trust=trust)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._link, req)


def ask(
    way: int,
    url: str,
    ca: Path,
    method: str = "GET",
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    seconds: float = 300,
) -> Any:
    """The JSON that `url` answers, by way of a port of this machine's loopback; nobody but `ca` is trusted.

    Raises urllib.error.URLError, and HTTPError for an answer that is a refusal.
    """
    data = json.dumps(body).encode() if body is not None else None
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, sent, method=method)  # noqa: S310 (https)
    trust = ssl.create_default_context(cafile=str(ca))
    opener = urllib.request.build_opener(_Https(way, trust), urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=seconds) as answer:
        return json.loads(answer.read() or b"null")


def _connect(context: ssl.SSLContext, port: int, name: str, start: Start | None) -> tuple[dict[str, Any], str]:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as plain:
        if start:
            start(plain)
        with context.wrap_socket(plain, server_hostname=name) as link:
            return dict(link.getpeercert() or {}), link.version() or ""
