"""Our own programs on guests and the node: sent over stdin with a request, they answer with one JSON object.

The machine may be anybody's by now, so its answer is data: bounded in bytes, values and time, strict JSON, and of the
shape that was asked for. Anything else is that machine's error and nobody else's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from aihub import capture, words
from aihub.bundle import bundle
from aihub.errors import BadAnswer
from aihub.state.directory import State

from . import connection

_VALUES = 250_000  # that an answer may hold: an empty list takes more memory than the two bytes that it is

T = TypeVar("T")


def ask(
    state: State,
    alias: str,
    program: Path,
    request: Mapping[str, Any],
    shape: type[T],
    *arguments: str,
    timeout: float = 60,
    patience: capture.Patience | None = None,
) -> T:
    """Runs a program (standard library only) with a request; nothing of either is on a command line.

    Raises TaskFailed when it fails, BadAnswer for an answer of more than 4 MiB or of another shape, and what `run`
    raises.
    """
    command, stdin = _sent(program, request, arguments)
    done = connection.run(state, alias, command, stdin=stdin, timeout=timeout, patience=patience)
    return answer(alias, done.stdout, shape)


@contextmanager
def stream(
    state: State,
    alias: str,
    program: Path,
    request: Mapping[str, Any],
    *arguments: str,
    timeout: float,
    most: int,
) -> Iterator[capture.Stream]:
    """Runs a program as `ask` does, and gives its output while it comes: `most` bytes, for `timeout` seconds.

    Raises BadAnswer when it says more, and Unreachable when it ends too early or too late.
    """
    command, stdin = _sent(program, request, arguments)
    with connection.streamed(state, alias, command, stdin=stdin, timeout=timeout, most=most) as told:
        yield told


def _sent(program: Path, request: Mapping[str, Any], arguments: Sequence[str]) -> tuple[list[str], bytes]:
    text = bundle(program)
    first = _text(Path(__file__).with_name("from_stdin.py")).decode()
    return ["python3", "-c", first, str(len(text)), *arguments], text + json.dumps(request).encode()


def answer(where: str, output: bytes, shape: type[T]) -> T:
    """What a program answered with. Raises BadAnswer when it has not that shape."""
    found = _read(where, output)
    try:
        value: T = _adapter(cast(Hashable, shape)).validate_python(found, strict=True)
        return value
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(words.name(str(part)) for part in first["loc"][:6])
        what = f"its answer is another than expected: {place[:300]}: {words.line(first['msg'])}"
    raise BadAnswer(what, where=where)


def _read(where: str, output: bytes) -> dict[str, Any]:
    if sum(map(output.count, (b",", b"[", b"{"))) > _VALUES:
        raise BadAnswer(f"its answer is not to be used: it holds more than {_VALUES} values", where=where)
    try:
        found = json.loads(output.decode(), object_pairs_hook=_object, parse_float=_number, parse_constant=_number)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("the answer is not JSON: does a login script print something?", where=where) from error
    if not isinstance(found, dict):
        raise BadAnswer("the answer is no JSON object", where=where)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _number(text: str) -> float:
    if not math.isfinite(found := float(text)):
        raise ValueError("no number")
    return found


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


@cache
def _text(path: Path) -> bytes:
    return path.read_bytes()
