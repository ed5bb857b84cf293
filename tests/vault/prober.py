"""Logs in every 50 ms with what a consumer's file says right now, and writes down each result."""

from __future__ import annotations

import socket
import ssl
import sys
import time
from pathlib import Path

PERIOD = 0.05


def postgres(user: str, password: str, port: int, ca: str, server: str) -> None:
    import psycopg

    psycopg.connect(
        host=server, hostaddr="127.0.0.1", port=port, user=user, password=password, dbname=user[:-2],
        sslmode="verify-full", sslrootcert=ca, connect_timeout=5,
    ).close()  # fmt: skip


def redis(user: str, password: str, port: int, ca: str, server: str, context: list[ssl.SSLContext] = []) -> None:  # noqa: B006
    context or context.append(ssl.create_default_context(cafile=ca))
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context[0].wrap_socket(plain, server_hostname=server) as found,
    ):
        found.sendall(f"AUTH {user} {password}\r\n".encode())
        answer = found.recv(200)
    if answer != b"+OK\r\n":
        raise PermissionError(answer.decode())


def main() -> None:
    kind, login, port, ca, server, log = sys.argv[1:]
    probe = {"postgres": postgres, "redis": redis}[kind]
    due = time.monotonic()
    with Path(log).open("a", buffering=1) as out:
        while True:
            user, password = Path(login).read_text().split("\n")
            try:
                probe(user, password, int(port), ca, server)
                out.write("ok\n")
            except Exception as error:
                out.write(f"{time.time():.3f} {kind} as {user}: {' '.join(str(error).split())}\n")
            due = max(due + PERIOD, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
