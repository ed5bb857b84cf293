"""TLS as a client of the hub meets it: who is trusted, which versions are spoken, and what an old client is told."""

from __future__ import annotations

import socket
import ssl
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 10.0
Start = Callable[[socket.socket], None]


def postgres(link: socket.socket) -> None:
    """Asks a PostgreSQL server to go on in TLS."""
    link.sendall(struct.pack("!II", 8, 80877103))
    assert link.recv(1) == b"S", "the server offers no TLS"


def certificate(port: int, name: str, ca: Path, start: Start | None = None) -> tuple[dict[str, Any], str]:
    """The certificate of a server on this machine's loopback, and the TLS version agreed on.

    Raises ssl.SSLError unless it is a certificate of `ca` for `name`.
    """
    return _connect(ssl.create_default_context(cafile=str(ca)), port, name, start)


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


def _connect(context: ssl.SSLContext, port: int, name: str, start: Start | None) -> tuple[dict[str, Any], str]:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as plain:
        if start:
            start(plain)
        with context.wrap_socket(plain, server_hostname=name) as link:
            return dict(link.getpeercert() or {}), link.version() or ""
