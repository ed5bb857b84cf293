"""Runs on a guest, sent over stdin: why instances do not run, in their own last words.

Standard library and ASCII only, with hidden/ beside it. The request follows the program on stdin, as JSON:
{"stacks": [STACK]}. The answer:
{"words": {STACK: [LINE]}}. What a container printed may hold anything: it is bounded, and the values of the instance's
secret files are taken out before they leave the guest.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from aihub.guests.hidden.on_guest import secrets, without

DOCKER_SOCKET = "/var/run/docker.sock"
UNIT_LINES, LOG_LINES, HEALTH_LINES = 8, 12, 4
MOST = 64 * 1024  # bytes of each log
WIDTH = 300  # characters of a line


def docker(path: str) -> bytes:
    """The beginning of what Docker answers. Raises OSError."""
    connection = HTTPConnection("docker", timeout=10)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(DOCKER_SOCKET)
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"Docker answered {answer.status}")
        return answer.read(MOST)
    except HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def framed(raw: bytes) -> bytes:
    """Output without Docker's frames: a byte that says which stream, three zeros, the length."""
    found = b""
    while len(raw) >= 8 and raw[1:4] == b"\0\0\0":
        size = int.from_bytes(raw[4:8], "big")
        found, raw = found + raw[8 : 8 + size], raw[8 + size :]
    return found + raw


def last(text: str, most: int) -> list[str]:
    """The last lines that say something."""
    return [line.rstrip() for line in text.splitlines() if line.strip()][-most:]


def of_unit(stack: str) -> list[str]:
    """What the instance's unit said last."""
    command = ["journalctl", "--no-pager", "--output=cat", f"--lines={UNIT_LINES}", f"--unit=hub-{stack}.service"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
    return ["its unit said:", *indented(last(done.stdout[-MOST:].decode(errors="replace"), UNIT_LINES))]


def of_containers(stack: str) -> list[str]:
    """What those of its containers said last that do not run or are not healthy."""
    filters = quote(json.dumps({"label": ["com.docker.compose.project=" + stack]}))
    found: list[str] = []
    for one in sorted(json.loads(docker("/containers/json?all=1&filters=" + filters)), key=lambda c: str(c["Names"])):
        found += of_container(one["Names"][0].lstrip("/"), one["Id"])
    return found


def of_container(name: str, identity: str) -> list[str]:
    """A container's state, its last lines, and what its health check said; nothing of one that is well."""
    about = json.loads(docker(f"/containers/{identity}/json"))
    state, tty = about["State"], about["Config"]["Tty"]
    health = state.get("Health") or {}
    if state["Running"] and not state["Restarting"] and health.get("Status", "healthy") == "healthy":
        return []
    how = state["Status"] if not health else f"{state['Status']}, {health['Status']}"
    code = "" if state["Running"] else f", exit code {state['ExitCode']}"
    raw = docker(f"/containers/{identity}/logs?stdout=1&stderr=1&tail={LOG_LINES}")
    said = last((raw if tty else framed(raw)).decode(errors="replace"), LOG_LINES)
    found = [f"container {name} ({how}{code}) said:", *indented(said)]
    if state.get("Error"):
        found += indented(last(state["Error"], 1))
    if health.get("Log"):
        check = health["Log"][-1]
        found.append(f"its health check (exit code {check['ExitCode']}) said:")
        found += indented(last(check["Output"], HEALTH_LINES))
    return found


def indented(lines: list[str]) -> list[str]:
    """The lines as they stand below a heading."""
    return ["  " + line for line in lines] or ["  nothing"]


def words(stack: str) -> list[str]:
    """All of it, for one instance."""
    found = of_unit(stack)
    try:
        found += of_containers(stack)
    except (OSError, ValueError) as error:
        found.append(f"its containers can't be looked at: {error}")
    values = {value.decode(errors="replace").encode(): name for value, name in secrets(stack).items()}
    found = [without(line.encode(errors="replace"), values).decode() for line in found]
    return [line[:WIDTH] for line in found]  # not before: half a value would not be known as one


def main() -> None:
    request: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    json.dump({"words": {stack: words(stack) for stack in request["stacks"]}}, sys.stdout)


if __name__ == "__main__":
    main()
