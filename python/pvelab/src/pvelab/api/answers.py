"""What is always answered the same: directories, what a fresh node has nothing of, what it refuses (answers.json).

`{name}` in a text is a parameter of the call, `{node}` the node, `{address}` its address, `{gateway}` its way out.
A path may end with the parameter that it is for.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from .errors import ApiError, bad, failure
from .registry import Call, Handler, find, route
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
    for name, said in found["refusals"].items():
        route(*name.split(" ", 1))(_refusal(said))
    for text, value in found["answers"].items():
        path, _, asked = text.partition("?")
        usual = find("GET", path)
        route("GET", path)(_when(asked, value, usual[0].handler) if asked and usual else _constant(value))


def _index(text: str) -> list[dict[str, str]]:
    key, _, names = text.partition(": ")
    return [{key: name} for name in names.split()]


def _constant(value: Any) -> Handler:
    return lambda call: _filled(value, call)


def _when(asked: str, value: Any, otherwise: Handler) -> Handler:
    """Another answer where a parameter has a certain value."""
    name, _, wanted = asked.partition("=")
    return lambda call: _filled(value, call) if call.get(name) == wanted else otherwise(call)


def _of_guest(names: list[dict[str, str]], kind: str) -> Handler:
    def answer(call: Call) -> list[dict[str, str]]:
        call.pve.conf(call.vmid, kind)
        return names

    return answer


def _refusal(said: Any) -> Handler:
    """A text is a 500; a pair has another status; texts by field are a 400."""

    def answer(call: Call) -> Any:
        found = _filled(said, call)
        if isinstance(found, dict):
            raise bad(**found)
        raise failure(found) if isinstance(found, str) else ApiError(*found)

    return answer


def _filled(value: Any, call: Call) -> Any:
    if isinstance(value, str):
        node = call.pve.node
        known = {"node": node.name, "address": node.address, "gateway": node.gateway or "192.168.1.1"}
        return template(value, {**call.params, **known})
    if isinstance(value, list):
        return [_filled(item, call) for item in value]
    return {key: _filled(item, call) for key, item in value.items()} if isinstance(value, dict) else value
