"""`python -m metal`: pyinfra's own command line, with one connection made fast and refusals told in JSON."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

from . import refusal


def main() -> None:
    """Runs pyinfra; a refusal ends with its own exit code, and JSON on stdout."""
    from pyinfra_cli.main import main as pyinfra  # type: ignore[import-untyped]

    _send_at_once()
    try:
        pyinfra()
    except SystemExit:
        if refusal.last:
            print(json.dumps(refusal.last[0].as_json()))  # noqa: T201  (the program's output)
            sys.exit(refusal.EXIT[refusal.last[0].kind])
        raise


def _send_at_once() -> None:
    # paramiko leaves Nagle's algorithm on: against delayed acknowledgements every command then takes 40 ms.
    import paramiko

    original = paramiko.Transport.__init__

    def patched(self: paramiko.Transport, *args: Any, **more: Any) -> None:
        original(self, *args, **more)
        if isinstance(self.sock, socket.socket):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    paramiko.Transport.__init__ = patched  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
