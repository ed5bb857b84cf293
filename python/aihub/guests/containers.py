"""Running containers, looked at through Docker's own API over a forwarded socket; the only user of the docker SDK.

Looking only: containers are made and changed by Compose, which Ansible starts.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aihub.errors import HubError, TaskFailed, Unreachable

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

_EXEC_SECONDS = 60.0
_SETTLE_SECONDS = 10.0  # the exit code is there a moment after the last output
_STDOUT = 1


def connect(socket: Path) -> docker.DockerClient:
    """A client of the Docker behind a forwarded socket. Raises Unreachable when it does not answer."""
    import docker

    with _translated(str(socket)):
        client = docker.DockerClient(base_url=f"unix://{socket}", timeout=30)
        client.ping()
        return client


def execute(container: Container, argv: Sequence[str]) -> str:
    """What a command in a running container prints on standard output.

    In place of the SDK's `exec_run`, which reads the connection below its HTTP client: what came together with the
    answer's head, as happens on a busy machine, is then lost, and the output is empty beside exit code 0. Raises
    TaskFailed unless the command ends with exit code 0, and Unreachable when its answer breaks off.
    """
    import docker.errors
    import requests

    client, where = container.client, str(container.name)
    assert client is not None, "a container that was made by hand"
    api = client.api
    with _translated(where):
        name = api.exec_create(container.id, list(argv))["Id"]
        url = f"{api.base_url}/v{api.api_version}/exec/{name}/start"
        answer = api.post(url, json={"Detach": False, "Tty": False}, timeout=_EXEC_SECONDS)
        try:
            answer.raise_for_status()
        except requests.HTTPError as error:
            raise docker.errors.create_api_error_from_http_exception(error) from error
        stdout, stderr = _streams(answer.content, where)
        code = _exit_code(api, name, where)
    if code != 0:
        tail = "\n".join((stderr or stdout).decode(errors="replace").strip().splitlines()[-20:])
        raise TaskFailed(f"{argv[0]} ended with exit code {code}\n{tail}".rstrip(), where=where)
    return stdout.decode(errors="replace")


def _streams(raw: bytes, where: str) -> tuple[bytes, bytes]:
    """Standard output and standard error out of Docker's frames: a byte that says which, three zeros, the length."""
    found = {True: b"", False: b""}
    while raw:
        kind, length = struct.unpack(">BxxxL", raw[:8]) if len(raw) >= 8 else (0, 0)
        frame, raw = raw[8 : 8 + length], raw[8 + length :]
        if not kind or len(frame) < length:
            raise Unreachable("the output of a command broke off", where=where)
        found[kind == _STDOUT] += frame
    return found[True], found[False]


def _exit_code(api: docker.APIClient, name: str, where: str) -> int:
    limit = time.monotonic() + _SETTLE_SECONDS
    while (found := api.exec_inspect(name))["Running"] or found["ExitCode"] is None:
        if time.monotonic() > limit:
            raise Unreachable("a command goes on after its output has ended", where=where)
        time.sleep(0.02)
    return int(found["ExitCode"])


@contextmanager
def _translated(where: str) -> Iterator[None]:
    import docker.errors

    try:
        yield
    except docker.errors.APIError as error:
        raise HubError(f"Docker refused: {error.explanation or error}", where=where) from error
    except (docker.errors.DockerException, OSError) as error:
        raise Unreachable(f"Docker does not answer: {error}", where=where, hint="aihub plan") from error
