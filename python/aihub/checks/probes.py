"""Small programs that a check runs on a guest with its python3: connects, a proxy's answer, an NTP question.

They are given by argument and print JSON; each tries everything at the same time, so dropped packets cost one
time limit, not one per port.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aihub.errors import HubError, TaskFailed
from aihub.parallel import Answers

from .shell import Shell, Shells

CONNECT = """
import concurrent.futures, json, socket, sys
limit, targets = json.loads(sys.argv[1])
def connect(target):
    try:
        socket.create_connection(tuple(target), limit).close()
        return "open"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)
with concurrent.futures.ThreadPoolExecutor(max(1, len(targets))) as pool:
    print(json.dumps(list(pool.map(connect, targets))))
"""

PROXY = """
import json, socket, sys
address, port, method, target, host = json.loads(sys.argv[1])
with socket.create_connection((address, port), 5) as link:
    link.settimeout(25)
    link.sendall(f"{method} {target} HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(json.dumps(link.recv(4096).split(b"\\r\\n", 1)[0].decode(errors="replace")))
"""

NTP = """
import json, socket, struct, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
    link.settimeout(3)
    link.sendto(b"\\x23" + bytes(47), (json.loads(sys.argv[1]), 123))
    answer = link.recv(512)
    whole, part = struct.unpack("!II", answer[40:48])
    print(json.dumps({"stratum": answer[1], "offset": whole - 2208988800 + part / 2**32 - time.time()}))
"""

OPEN = "open"
NOT_FOUND = 2  # of getent's exit codes
NO_SUCH_NAME = 2  # of getent


@dataclass(frozen=True, order=True)
class Place:
    """An address and a TCP port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def connect(shell: Shell, places: Sequence[Place], limit: float = 2.0) -> dict[Place, str]:
    """Tries real TCP connects from a machine; `open` is the one good answer."""
    if not places:
        return {}
    answers = _ask(shell, CONNECT, [limit, [[p.address, p.port] for p in places]])
    return dict(zip(places, answers, strict=True))


class Round(Answers[str, dict[Place, str]]):
    """One round of connects from many machines at the same time."""

    def __init__(self, shells: Shells, places: Mapping[str, Sequence[Place]]) -> None:
        super().__init__(places, lambda name: connect(shells.shell(name), places[name]))

    def reached(self, name: str) -> set[Place]:
        """The places that answered one machine; none when it could not try."""
        found = self.found[name]
        return set() if isinstance(found, HubError) else {p for p, answer in found.items() if answer == OPEN}


def through_proxy(shell: Shell, proxy: Place, url: str) -> int:
    """The status with which a proxy answers: to CONNECT for https, to HEAD for http."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        place = f"{parts.hostname}:{parts.port or 443}"
        question = [proxy.address, proxy.port, "CONNECT", place, place]
    else:
        question = [proxy.address, proxy.port, "HEAD", url, parts.netloc]
    line = str(_ask(shell, PROXY, question))
    found = re.match(r"HTTP/1\.[01] (\d{3})\b", line)
    assert found, f"the proxy's answer is not HTTP: {line!r}"
    return int(found[1])


def ntp(shell: Shell, server: str) -> dict[str, Any]:
    """The stratum of an NTP server and how far it is ahead of the machine that asks, in seconds."""
    found: dict[str, Any] = _ask(shell, NTP, server)
    return found


def addresses_of(shell: Shell, name: str) -> list[str]:
    """The IPv4 addresses that a name has on a machine; empty where it doesn't resolve."""
    output = shell.run(f"getent ahostsv4 {shlex.quote(name)}")
    if output.code not in (0, NOT_FOUND):
        raise TaskFailed(f"getent ended with exit code {output.code}", where=shell.alias)
    assert output.code in (0, NO_SUCH_NAME), f"{shell.alias} could not ask: {output.stderr.decode(errors='replace')}"
    return sorted({line.split()[0] for line in output.stdout.decode().splitlines()})


def package_sources(shell: Shell) -> list[str]:
    """The URLs of a machine's own package sources."""
    command = "grep -rhoE '^[^#]*https?://[^ ]+' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null"
    lines = shell.run(command).stdout.decode(errors="replace").splitlines()
    return list(dict.fromkeys(line[line.index("http") :].rstrip("/") + "/" for line in lines))


def _ask(shell: Shell, program: str, question: object) -> Any:
    output = shell.run(f"python3 -c {shlex.quote(program)} {shlex.quote(json.dumps(question))}")
    if output.code != 0:
        last = output.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise TaskFailed(f"the probe failed: {''.join(last)}", where=shell.alias)
    return json.loads(output.stdout)
