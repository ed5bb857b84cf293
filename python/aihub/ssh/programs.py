"""Our own programs on guests and the node: sent over stdin with a request, they answer with one JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from aihub.errors import TaskFailed
from aihub.state.directory import State

from . import connection

_MOST = 16 << 20  # bytes of an answer


def ask(
    state: State, alias: str, program: Path, request: Mapping[str, Any], *arguments: str, timeout: float = 60
) -> dict[str, Any]:
    """Runs a program (standard library only) with a request; nothing of either is on a command line.

    Raises TaskFailed when it fails or answers with anything but an object of at most 16 MiB, and what `run` raises.
    """
    text = _text(program)
    command = ["python3", "-c", _text(Path(__file__).with_name("from_stdin.py")).decode(), str(len(text)), *arguments]
    stdin = text + json.dumps(request).encode()
    return answer(alias, connection.run(state, alias, command, stdin=stdin, timeout=timeout, most=_MOST).stdout)


def answer(where: str, output: bytes) -> dict[str, Any]:
    """The object that a program answered with. Raises TaskFailed when it is none."""
    try:
        found = json.loads(output)
    except (ValueError, RecursionError) as error:
        raise TaskFailed("the answer is not JSON: does a login script print something?", where=where) from error
    if not isinstance(found, dict):
        raise TaskFailed("the answer is no JSON object", where=where)
    return found


@cache
def _text(path: Path) -> bytes:
    return path.read_bytes()
