"""Language models of Ollama: pulls what hub.yml declares for this guest; run by aihub.services.

Models that are there and not declared stay: somebody may have made them by hand.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aihub.errors import TaskFailed, Unreachable
from aihub.services.declared import Declared
from aihub.services.service import Service, Step

_SECONDS_BETWEEN_LINES = 300  # checking the sum of tens of GB is silent work

State = frozenset[str]


class _Connection(http.client.HTTPConnection):
    """HTTP over the forwarded socket."""

    def __init__(self, service: Service) -> None:
        super().__init__("localhost", timeout=_SECONDS_BETWEEN_LINES)
        self._path = str(service.socket)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def read(service: Service) -> State:
    """The names of the models that are there."""
    with _request(service, "GET", "/api/tags") as answer:
        return frozenset(model["name"] for model in json.load(answer)["models"])


def diff(declared: Declared, state: State | None) -> list[Step]:
    """One step for each declared model whose weights are missing."""
    return [
        Step("create", f"model {weights}", details={"weights": weights})
        for weights in dict.fromkeys(map(_tagged, declared.models))
        if weights not in (state or ())
    ]


def apply(service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Pulls the weights, one model after the other, and tells how far it is."""
    for step in steps:
        weights = step.details["weights"]
        last = ""
        with _request(service, "POST", "/api/pull", {"model": weights, "stream": True}) as answer:
            for line in answer:
                told = json.loads(line)
                if error := told.get("error"):
                    raise TaskFailed(
                        f"{weights} can't be pulled: {error}",
                        where=service.instance.name,
                        hint="look at the egress proxy: aihub ssh GUEST -- docker logs egress-egress-1",
                    )
                text = _progress(weights, told)
                if text != last:
                    say(text)
                last = text
        if last != f"{weights}: success":
            raise TaskFailed(f"{weights}: the pull ended without success", where=service.instance.name, hint="aihub up")


def _tagged(weights: str) -> str:
    """The name with its tag, as Ollama lists it."""
    return weights if ":" in weights.rpartition("/")[2] else f"{weights}:latest"


def _progress(weights: str, told: dict[str, Any]) -> str:
    total, done = told.get("total", 0), told.get("completed", 0)
    part = f" {100 * done // total // 10 * 10} %" if total else ""
    return f"{weights}: {told.get('status', '')}{part}"


@contextmanager
def _request(service: Service, method: str, path: str, body: object = None) -> Iterator[http.client.HTTPResponse]:
    connection = _Connection(service)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            said = answer.read(500).decode(errors="replace")
            raise TaskFailed(f"Ollama answered {answer.status} to {path}: {said}", where=service.instance.name)
        yield answer
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"Ollama does not answer: {error}", where=service.instance.name) from error
    finally:
        connection.close()
