"""What is always answered the same: directories, what a fresh node has nothing of, what it refuses (answers.json).

`{name}` in a text is a parameter of the call, `{node}` the node, `{address}` its address. A path may end with the
parameter that it is for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from .errors import ApiError, bad, failure
from .registry import Call, route
from .words import template


@cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("answers.json").read_text())
    return found


def register() -> None:
    """Registers every answer of the file."""
    found = _file()
    for path, text in found["indexes"].items():
        route("GET", path)(_constant(_index(text)))
    for path, text in found["indexes of guests"].items():
        route("GET", path)(_of_guest(_index(text), "lxc" if "/lxc/" in path else "qemu"))
    plain = {path: value for path, value in found["answers"].items() if "?" not in path}
    for path, value in plain.items():
        others = {key.partition("?")[2]: other for key, other in found["answers"].items() if key.startswith(f"{path}?")}
        route("GET", path)(_constant(value, others))
    for name, said in found["refusals"].items():
        route(*name.split(" ", 1))(_refusal(said))


def _index(text: str) -> list[dict[str, str]]:
    key, _, names = text.partition(": ")
    return [{key: name} for name in names.split()]


def _constant(value: Any, others: dict[str, Any] | None = None) -> Callable[[Call], Any]:
    def answer(call: Call) -> Any:
        for asked, other in (others or {}).items():
            name, _, wanted = asked.partition("=")
            if call.get(name) == wanted:
                return _filled(other, call)
        return _filled(value, call)

    return answer


def _of_guest(names: list[dict[str, str]], kind: str) -> Callable[[Call], Any]:
    def answer(call: Call) -> list[dict[str, str]]:
        call.pve.conf(call.vmid, kind)
        return names

    return answer


def _refusal(said: Any) -> Callable[[Call], Any]:
    """A text is a 500; a pair has another status; texts by field are a 400."""

    def answer(call: Call) -> Any:
        found = _filled(said, call)
        if isinstance(found, dict):
            raise bad(**found)
        raise failure(found) if isinstance(found, str) else ApiError(*found)

    return answer


def _filled(value: Any, call: Call) -> Any:
    if isinstance(value, str):
        return template(value, {**call.params, "node": call.pve.node.name, "address": call.pve.node.address})
    if isinstance(value, list):
        return [_filled(item, call) for item in value]
    return {key: _filled(item, call) for key, item in value.items()} if isinstance(value, dict) else value
