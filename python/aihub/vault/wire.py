"""HTTPS through a unix socket that leads to the vault, its certificate verified for the server's own name."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool


def session(path: Path, ca: Path) -> requests.Session:
    """A session whose every https connection goes through the socket and trusts one authority."""
    found = requests.Session()
    found.trust_env = False  # proxies and trust stores of the environment are for the world outside
    found.verify = str(ca)
    found.adapters.clear()
    found.mount("https://", _adapter(path))
    return found


def _adapter(path: Path) -> HTTPAdapter:
    class Connection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            found.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
            try:
                found.connect(str(path))
            except OSError:
                found.close()
                raise
            return found

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"https": Pool}

    return Adapter()
