"""One server for all promises of this folder, and what holds for every test."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from pve_server import Server, start, stop

# A runner in the background of a shell inherits SIGINT as ignored, and hands that on to all that it starts: Ctrl-C
# would be tested against processes that can't hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def pve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start(tmp_path_factory.mktemp("pve") / "state")
    yield server
    stop(server)
