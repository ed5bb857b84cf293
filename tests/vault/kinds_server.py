"""A service of any kind: over TLS it says who somebody is, known by a password or by a certificate. A program.

It keeps its users in HOME/users.json, sums only, and takes aihub's own passwords from the files beside its
certificate: with `pair` when it starts for the first time, with `overlap` and `single` whenever it starts. SIGHUP is
its restart. HOME/events gets a line for each thing that keeps somebody out: `TIME set USER`, `TIME stop`, `TIME serve`.

One line of JSON each way: {"user", "password", "do", ...} is answered by {"you"} or {"error"}.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socketserver
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

ADMIN = "hub_reconcile"


class Service(socketserver.ThreadingTCPServer):
    """One of four strategies."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 50

    def __init__(self, strategy: str, port: int, secrets: Path, home: Path) -> None:
        self.strategy, self.secrets, self.home = strategy, secrets, home
        self.users: dict[str, list[str]] = {}
        self._certificate, self._context = "", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.start()
        super().__init__(("127.0.0.1", port), Session)
        self.event("serve")

    def start(self) -> None:
        """Reads its users, and whoever is given by files."""
        kept = self.home / "users.json"
        self.users = json.loads(kept.read_text()) if kept.exists() else {}
        if self.strategy == "pair":
            for half in "ab":
                self.users.setdefault(f"{ADMIN}_{half}", [summed(self.file(f"reconcile_{half}"))])
        elif self.strategy == "overlap":
            self.users[ADMIN] = [summed(self.file(f"reconcile_{half}")) for half in "ab"]
        elif self.strategy == "single":
            self.users[ADMIN] = [summed(self.file("reconcile"))]

    def file(self, name: str) -> str:
        return (self.secrets / name).read_text()

    def event(self, *words: str) -> None:
        with (self.home / "events").open("a") as out:
            out.write(f"{time.time():.4f} {' '.join(words)}\n")

    def context(self) -> ssl.SSLContext:
        """With the certificate as it is now."""
        if (now := self.file("tls.pem")) != self._certificate:
            self._certificate, self._context = (now, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._context.load_cert_chain(self.secrets / "tls.pem")
            if self.strategy == "certificate":
                self._context.verify_mode = ssl.CERT_REQUIRED
                self._context.load_verify_locations(self.secrets / "ca.pem")
        return self._context

    def known(self, link: ssl.SSLSocket, asked: dict[str, Any]) -> str:
        """Who asks; empty for nobody that it knows."""
        if self.strategy == "certificate":
            shown: Any = (link.getpeercert() or {}).get("subjectAltName", ())
            names = [name for kind, name in shown if kind == "DNS"]
            clients = dict(line.split() for line in (self.home / "clients").read_text().splitlines())
            return clients.get(names[0], "") if len(names) == 1 else ""
        user = str(asked.get("user"))
        return user if summed(str(asked.get("password"))) in self.users.get(user, ()) else ""

    def answer(self, link: ssl.SSLSocket, asked: dict[str, Any]) -> dict[str, Any]:
        """What a request comes to."""
        you = self.known(link, asked)
        if not you:
            return {"error": "who are you?"}
        if asked.get("do") and not you.startswith(ADMIN):
            return {"error": "not yours to do"}
        if asked.get("do") == "set" and self.users.get(asked["name"]) != asked["sums"]:
            self.event("set", asked["name"])
            self.users[asked["name"]] = asked["sums"]
            (self.home / "users.new").write_text(json.dumps(self.users))
            (self.home / "users.new").rename(self.home / "users.json")
        return {"you": you, **({"users": self.users} if asked.get("do") else {})}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever speaks no TLS, or shows no certificate, is told so by TLS itself."""


class Session(socketserver.BaseRequestHandler):
    """One connection, one request."""

    server: Service

    def handle(self) -> None:
        self.request.settimeout(10)
        with self.server.context().wrap_socket(self.request, server_side=True) as link, link.makefile("rwb") as stream:
            asked = json.loads(stream.readline(10_000))
            stream.write(json.dumps(self.server.answer(link, asked)).encode() + b"\n")


def summed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def main() -> None:
    strategy, port, secrets, home, unit = sys.argv[1:]
    running: list[Service] = []

    def restart(*_: object) -> None:
        # It waits for the loop that this very thread runs.
        threading.Thread(target=running[-1].shutdown).start()

    while True:
        with Service(strategy, int(port), Path(secrets), Path(home)) as service:
            running.append(service)
            signal.signal(signal.SIGHUP, restart)
            Path(unit).write_text(str(os.getpid()))
            Path(f"{unit}.ready").touch()
            service.serve_forever(poll_interval=0.05)
            service.event("stop")


if __name__ == "__main__":
    main()
