"""A service that logs in many times a second with what its files said when it was started; SIGHUP is its restart.

Writes down `TIME read SUM` for each start, `TIME TIME ok` for each login, and `TIME TIME no WHY` for each failure.
"""

from __future__ import annotations

import os
import signal
import ssl
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .kinds_client import ask, connected
from .kinds_server import summed

PERIOD = 0.05


def login(kind: str, folder: Path, name: str) -> tuple[dict[str, Any], ssl.SSLContext, str]:
    """What it shows, how, and the secret of it."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if kind == "ledger":
        url = urlsplit((folder / "ledger_main_url").read_text())
        assert url.path == f"/{name}" and (folder / "ledger_main_user").read_text() == url.username
        return ({"user": url.username, "password": url.password}, context, str(url.password))
    if kind == "queue":
        user, password = (folder / "queue_jobs_login").read_text().split("\n")
        return {"user": user, "password": password}, context, password
    if kind == "keyring":
        key = (folder / "keyring_seal_key").read_text()
        return {"user": name, "password": key}, context, key
    context.load_cert_chain(folder / "stamp_mark.pem")
    return {}, context, (folder / "stamp_mark.pem").read_text()


def main() -> None:
    kind, folder, name, port, server, log, unit = sys.argv[1:]
    restart = True

    def hang_up(*_: object) -> None:
        nonlocal restart
        restart = True

    signal.signal(signal.SIGHUP, hang_up)
    Path(unit).write_text(str(os.getpid()))
    with Path(log).open("a", buffering=1) as out:
        while True:
            if restart:
                restart = False
                shown, context, secret = login(kind, Path(folder), name)
                out.write(f"{time.time():.4f} read {summed(secret)[:16]}\n")
                Path(f"{unit}.ready").touch()
            begun = time.time()
            try:
                with connected(int(port), server, context) as link:
                    you = ask(link, **shown)["you"]
                assert you in (name, f"{name}_a", f"{name}_b"), you
                out.write(f"{begun:.4f} {time.time():.4f} ok\n")
            except Exception as error:
                out.write(f"{begun:.4f} {time.time():.4f} no {type(error).__name__} {' '.join(str(error).split())}\n")
            time.sleep(max(0.0, begun + PERIOD - time.time()))


if __name__ == "__main__":
    main()
