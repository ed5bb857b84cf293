"""A server of one's own in a test: started, ready, and gone with everything that it held."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

TOKEN = "root@pam!test"  # noqa: S105  (its name)
TEMPLATES = (
    "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst",
    "local:import/debian-13-genericcloud-amd64.qcow2",
)
PATIENCE = 20  # seconds


@dataclass(frozen=True)
class Running:
    """How to reach it: host and port, the CA that signs it, root's password, and the secrets of its tokens by id."""

    host: str
    port: int
    ca: Path
    node: str
    user: str
    password: str
    tokens: dict[str, str]

    @property
    def url(self) -> str:
        """Where the API begins."""
        return f"https://{self.host}:{self.port}/api2/json"


@contextmanager
def running(
    tokens: Sequence[str] = (TOKEN,), templates: Sequence[str] = TEMPLATES, options: Sequence[str] = ()
) -> Iterator[Running]:
    """A fresh node on a free port of the loopback, with tokens and OS images; `options` are those of `pvelab serve`.

    Raises RuntimeError, with what it said, when it does not start.
    """
    argv = [sys.executable, "-m", "pvelab.cli", "serve", *options]
    argv += [word for ident in tokens for word in ("--token", ident)]
    argv += [word for volid in templates for word in ("--template", volid)]
    with (
        tempfile.TemporaryFile("w+") as log,  # a pipe that nobody reads would stop it
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            yield _ready(process, log)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def _ready(process: subprocess.Popen[str], log: TextIO) -> Running:
    assert process.stdout is not None
    line = process.stdout.readline()  # ends, empty, with the process
    if not line:
        process.wait(PATIENCE)
        log.seek(0)
        raise RuntimeError(f"pvelab serve did not start: {log.read()[-2000:]}")
    told = json.loads(line)
    host, _, port = told["url"].removeprefix("https://").rpartition(":")
    return Running(
        host.strip("[]"), int(port), Path(told["ca"]), told["node"], told["user"], told["password"], told["tokens"]
    )
