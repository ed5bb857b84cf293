#!/usr/bin/python3 -I
"""Runs on the node: unseals the hub's Vault whenever it is found sealed. Standard library only.

    unseal ADDRESS PORT NAME CA

The shares come from systemd, which opens the sealed credential for this unit alone; they are in its memory only.
They go to nobody but who proves, with a certificate of the hub's own root, to be NAME.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

EVERY = 2.0  # seconds between two looks
CREDENTIAL = "shares"


class Connection(http.client.HTTPSConnection):
    """HTTPS to an address whose certificate must be that of a name: no name server is needed."""

    def __init__(self, address: str, port: int, name: str, trust: ssl.SSLContext) -> None:
        super().__init__(name, port, timeout=5, context=trust)
        self._address, self._trust = address, trust

    def connect(self) -> None:
        """Opens the connection. Raises OSError."""
        plain = socket.create_connection((self._address, self.port), 5)
        self.sock = self._trust.wrap_socket(plain, server_hostname=self.host)


def ask(connection: Connection, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One call's answer. Raises OSError for none, ValueError for one that is not Vault's."""
    headers = {"Content-Type": "application/json"}
    try:
        connection.request(method, f"/v1/sys/{path}", json.dumps(body) if body else None, headers)
        found = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def unseal(connection: Connection, shares: list[str]) -> str:
    """Looks, and hands in the shares if it is sealed; says how it is now."""
    found = ask(connection, "GET", "seal-status")
    if not found.get("initialized"):
        return "not initialised yet"
    if not found["sealed"]:
        return "open"
    ask(connection, "POST", "unseal", {"reset": True})  # what an earlier, broken attempt has left
    for share in shares:
        if not ask(connection, "POST", "unseal", {"key": share}).get("sealed", True):
            return "unsealed"
    return "the shares kept here do not open it: aihub secrets unseal"


def main() -> None:
    """Looks for ever."""
    address, port, name, ca = sys.argv[1:]
    shares = Path(os.environ["CREDENTIALS_DIRECTORY"], CREDENTIAL).read_text().split()
    trust = ssl.create_default_context(cafile=ca)
    trust.minimum_version = ssl.TLSVersion.TLSv1_2
    said = ""
    while True:
        try:
            now = unseal(Connection(address, int(port), name, trust), shares)
        except (OSError, ValueError, http.client.HTTPException) as error:
            now = f"no answer: {error}"
        if now != said:
            sys.stdout.write(f"{name}: {now}\n")
            sys.stdout.flush()
            said = now
        time.sleep(EVERY)


if __name__ == "__main__":
    main()
