"""Leaks of a value that no hub has, planted all over a running lab, each with the place by which it must be named."""

from __future__ import annotations

import base64
import gzip
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from aihub.checks.leaks import CONTROLLER, LABS

from tests.lab.cli import ROOT, Cli

VALUE = "Kq?+Zt/0w'R$9 x\"Lm4=Vb&n2YpHs8"
ENCODED = {
    "raw": VALUE.encode(),
    "base64 at 0": base64.b64encode(b"abc" + VALUE.encode()),
    "base64 at 1": base64.b64encode(b"a" + VALUE.encode()),
    "base64 at 2": base64.b64encode(b"ab" + VALUE.encode()),
    "base64url at 0": base64.urlsafe_b64encode(VALUE.encode()),
    "hex": VALUE.encode().hex().encode(),
    "upper hex": VALUE.encode().hex().upper().encode(),
    "URL": quote(VALUE, safe="").encode(),
    "JSON": json.dumps({"key": VALUE}).encode(),
    "shell quotes": shlex.quote(VALUE).encode(),
    "shell backslashes": b"Kq\\?+Zt/0w\\'R\\$9\\ x\\\"Lm4=Vb\\&n2YpHs8",
    "UTF-16 le": VALUE.encode("utf-16-le"),
    "UTF-16 be": VALUE.encode("utf-16-be"),
    "reversed": VALUE.encode()[::-1],
    "gz": gzip.compress(VALUE.encode()),
}
FOLDER = "/opt/planted"
# It reads the value from standard input and leaves it in the arguments and in the environment of two processes.
PROCESSES = """
import os, subprocess, sys
value, wait = sys.stdin.read(), [sys.executable, "-c", "import time; time.sleep(1200)"]
quiet = {"stdin": -3, "stdout": -3, "stderr": -3, "start_new_session": True}
print(subprocess.Popen([*wait, value], **quiet).pid, subprocess.Popen(wait, env={"KEY": value}, **quiet).pid)
"""


@dataclass
class Planted:
    """`expected`: (machine, a part of the place, encoding or nothing)."""

    expected: list[tuple[str, str, str]] = field(default_factory=list)


@contextmanager
def planted(hub: Cli, state: Path) -> Iterator[Planted]:
    """All of them, until the block ends. What a journal got stays there: it opens nothing."""
    found = Planted()
    with ExitStack() as undo:
        _files(hub, found, undo)
        for guest in ("security", "app", "node"):
            _processes(hub, guest, found, undo)
        _docker(hub, "app", found, undo)
        hub.on("security", "logger", VALUE)
        found.expected.append(("security", "journal", "raw"))
        hub.on(
            "app",
            "umask 022; mkdir /run/hub/planted; cat > /run/hub/planted/key; chmod 644 /run/hub/planted/key",
            "x",
        )
        undo.callback(hub.on, "app", "rm -r /run/hub/planted")
        found.expected.append(("app", "/run/hub/planted/key", "mode"))
        _controller(hub, state, found, undo)
        yield found


def _files(hub: Cli, found: Planted, undo: ExitStack) -> None:
    """One file for each encoding, in turn on a container and a virtual machine."""
    for guest in ("security", "app"):
        hub.on(guest, f"mkdir {FOLDER}")
        undo.callback(hub.on, guest, f"rm -r {FOLDER}")
    for number, (encoding, data) in enumerate(ENCODED.items()):
        guest, name = ("security", "app")[number % 2], f"{FOLDER}/{number}{'.gz' if encoding == 'gz' else ''}"
        hub.on(guest, f"base64 -d > {name}", base64.b64encode(data).decode())
        found.expected.append((guest, name, "raw" if encoding == "gz" else encoding))


def _processes(hub: Cli, machine: str, found: Planted, undo: ExitStack) -> None:
    pids = hub.on(machine, f"python3 -c {shlex.quote(PROCESSES)}", VALUE).split()
    undo.callback(hub.on, machine, f"kill {' '.join(pids)}")
    found.expected.append((machine, f"/proc/{pids[0]}/cmdline", "raw"))
    found.expected.append((machine, f"/proc/{pids[1]}/environ", "raw"))


def _docker(hub: Cli, guest: str, found: Planted, undo: ExitStack) -> None:
    """A container's and an image's environment, a container's output, a layer, a volume."""
    image = hub.on(guest, "docker image ls --format '{{.Repository}}:{{.Tag}}' | grep valkey | head -n1")
    undo.callback(hub.on, guest, "docker rm -f planted-env planted-log; docker rmi planted; docker volume rm planted")
    hub.on(guest, f"docker create --name planted-env --env-file /dev/stdin {image}", f"KEY={VALUE}\n")
    hub.on(guest, "docker commit planted-env planted")
    hub.on(guest, f"docker run -i --name planted-log --network none --entrypoint cat {image}", VALUE)
    hub.on(guest, "f=$(mktemp) && cat > $f && docker cp $f planted-log:/leak && rm $f", VALUE)
    hub.on(guest, "docker volume create planted && cat > /var/lib/docker/volumes/planted/_data/leak", VALUE)
    container = hub.on(guest, "docker inspect -f '{{.Id}}' planted-env")[:12]
    picture = hub.on(guest, "docker inspect -f '{{.Id}}' planted:latest").removeprefix("sha256:")[:12]
    log = hub.on(guest, "docker inspect -f '{{.Id}}' planted-log")[:12]
    found.expected += [
        (guest, f"docker inspect {container}", "JSON"),
        (guest, f"docker inspect {picture}", "JSON"),
        (guest, f"docker logs {log}", "raw"),
        (guest, "/diff/leak", "raw"),
        (guest, "/var/lib/docker/volumes/planted/_data/leak", "raw"),
    ]


def _controller(hub: Cli, state: Path, found: Planted, undo: ExitStack) -> None:
    """aihub's own files, the lab's task logs, an object of this checkout, a process."""
    for path in (state / "runs" / "planted.log", LABS / hub.lab / "log" / "planted.log"):
        path.write_text(VALUE)
        undo.callback(path.unlink)
        found.expected.append((CONTROLLER, str(path), "raw"))
    git = ["git", "-C", str(ROOT), "hash-object", "-w", "--stdin"]
    name = subprocess.run(git, input=VALUE.encode(), stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    store = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--git-path", f"objects/{name[:2]}/{name[2:]}"],
        stdout=subprocess.PIPE, check=True, text=True,
    ).stdout.strip()  # fmt: skip
    undo.callback((ROOT / store).unlink)
    found.expected.append((CONTROLLER, f"git blob {name}", "raw"))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1200)", VALUE])
    undo.callback(child.wait)
    undo.callback(child.kill)
    found.expected.append((CONTROLLER, f"/proc/{child.pid}/cmdline", "raw"))
