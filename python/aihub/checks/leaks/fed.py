"""Searches here what a guest hands over, for the secrets that are not its own: it gets no hint of them.

What comes is data of a machine that may be anybody's: bounded in bytes, time and parts, and nothing of it is kept.
"""

from __future__ import annotations

import bisect
import json
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from aihub import capture, ssh, words
from aihub.errors import BadAnswer
from aihub.state.directory import State

from .on_guest import FEED, OVERLAP, PART, Row, Search, rows

BUDGET = 96 << 20  # bytes that a guest hands over
SECONDS = 20.0  # for which it does
DEEP = 8 << 30, 1800.0  # the same, of a scan that leaves nothing out
_LATER = 100.0  # seconds more until it counts as silent: what it had begun may take long on a busy machine
_TOGETHER = 2 << 20  # bytes that are searched at a time
_PLACES = 20_000  # parts that are searched at a time
_PARTS = 500_000
_HEADER = 8192  # bytes
_CONTROL = "__REALTIME_TIMESTAMP="  # stands in every journal


class Summary(TypedDict):
    """What the guest's program says at its end."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    seen: dict[str, Annotated[int, Field(ge=0, le=1 << 53)]]
    blind: Annotated[list[str], Field(max_length=20)]
    cut: Annotated[list[str], Field(max_length=200)]


class Fed:
    """What is searched for one guest, and what was found."""

    def __init__(self, guest: str, found: Iterable[Row], salt: bytes) -> None:
        self.hits: set[tuple[str, str, str, str]] = set()
        self.controls: set[str] = set()
        self._guest = guest
        self._search = Search(found, salt)
        self._data = bytearray()
        self._parts: list[tuple[int, str, str]] = []  # where in the data each begins, its medium and its place
        self._count = 0

    def take(self, stream: capture.Stream) -> Summary:
        """All that comes. Raises BadAnswer, and what the stream raises."""
        while True:
            header = stream.line(_HEADER)
            if header.startswith(b"{"):
                self._look(end=True)
                return ssh.answer(self._guest, header, Summary)
            medium, place, size = self._understood(header)
            self._add(medium, place, stream.read(size))

    def _understood(self, header: bytes) -> tuple[str, str, int]:
        self._count += 1
        try:
            medium, place, size = json.loads(header)
        except (ValueError, TypeError, RecursionError) as error:
            raise BadAnswer("what it hands over has no heading", where=self._guest) from error
        if medium not in FEED or not isinstance(place, str) or type(size) is not int or not 0 < size <= PART:
            raise BadAnswer("what it hands over has another heading than expected", where=self._guest)
        if self._count > _PARTS:
            raise BadAnswer(f"it hands over more than {_PARTS} parts", where=self._guest)
        return medium, words.line(place), size

    def _add(self, medium: str, place: str, data: bytes) -> None:
        if not self._parts or self._parts[-1][1:] != (medium, place):
            self._data += b"\n"
            self._parts.append((len(self._data), medium, place))
        self._data += data
        if len(self._data) > _TOGETHER or len(self._parts) > _PLACES:
            self._look()

    def _look(self, *, end: bool = False) -> None:
        places = [at for at, _, _ in self._parts]
        for at, row in self._search.blob(bytes(self._data)):
            _, medium, place = self._parts[bisect.bisect_right(places, at) - 1]
            if row[4] == "control":
                self.controls.add(medium)
            else:
                self.hits.add((medium, place, row[4], row[5]))
        if not end:
            # A secret may lie across what was searched and what comes next of the same place.
            _, medium, place = self._parts[-1]
            del self._data[:-OVERLAP]
            self._parts = [(0, medium, place)]


def request(media: Mapping[str, Any], apart: Iterable[str], *, deep: bool) -> dict[str, Any]:
    """What a guest is asked to hand over; `apart` stays with it: what only itself knows."""
    budget, seconds = DEEP if deep else (BUDGET, SECONDS)
    return {**media, "apart": list(apart), "budget": budget, "seconds": seconds}


def search(
    state: State, guest: str, program: Path, asked: Mapping[str, Any], values: Iterable[tuple[str, str]]
) -> tuple[Fed, Summary, float]:
    """Searches a guest for these values; what was found, what was seen, and how long it took."""
    began, salt = time.monotonic(), secrets.token_bytes(16)
    found = [row for label, value in (*values, *_controls(asked)) for row in rows(label, value, salt)]
    fed = Fed(guest, found, salt)
    most, limit = asked["budget"] + (16 << 20), asked["seconds"] + _LATER
    with ssh.stream(state, guest, program, asked, asked["marker"], timeout=limit, most=most) as stream:
        summary = fed.take(stream)
    return fed, summary, time.monotonic() - began


def _controls(asked: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return ("control", asked["marker"]), ("control", _CONTROL)
