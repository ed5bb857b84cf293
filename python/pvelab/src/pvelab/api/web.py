"""aiohttp's server side, imported without the CA certificates of the whole world, which only its client needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# Its import makes the client's TLS contexts: reading the system's certificates is a sixth of our start.
with _environment(SSL_CERT_FILE=os.devnull, SSL_CERT_DIR=os.devnull):
    from aiohttp import BodyPartReader, hdrs, web

__all__ = ["BodyPartReader", "hdrs", "web"]
