"""What the program on a guest may answer, as types: whoever is root there answers what they like.

A name is one line without control characters, a mode is a mode. What has another shape is no answer at all.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from aihub.errors import BadAnswer
from aihub.model.types import NAME

from .parts.undeclared import MOST

_ROLE = r"^(stack/)?[a-z][a-z0-9_-]{0,63}$"
_LINE = r"^[^\p{C}\p{Zl}\p{Zp}]*$"

Hash = Annotated[str, Field(pattern=r"^[a-z0-9]*$", max_length=128)]
Role = Annotated[str, Field(pattern=_ROLE)]
Path = Annotated[str, Field(pattern=r"^/[^\p{C}\p{Zl}\p{Zp}]*$", max_length=512)]
Line = Annotated[str, Field(pattern=_LINE, max_length=256)]
Name = Annotated[str, Field(pattern=r"^[\w@\\:.?-]+$", max_length=160)]
Package = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]*$", max_length=128)]
Table = Annotated[str, Field(pattern=r"^[\w-]+( [\w-]+)?$", max_length=64)]
Word = Annotated[str, Field(pattern=r"^[a-z-]+$", max_length=32)]
Mode = Annotated[str, Field(pattern=r"^[0-7]{4}$")]
Owner = Annotated[str, Field(pattern=r"^[0-9]{1,10}:[0-9]{1,10}$")]
Stack = Annotated[str, Field(pattern=NAME)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Seconds = Annotated[float, Field(ge=0, le=1 << 40)]
Text = Annotated[str, Field(max_length=16_384)]
"""Free words, made harmless before anybody reads them."""


class _Strict(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]


class Rights(_Strict):
    mode: Mode
    owner: Owner


class FileState(Rights):
    content: Line


class Boot(_Strict):
    boot: Word


class Unit(Boot):
    active: Word


class Container(_Strict):
    image: Line
    configuration: Line
    state: Word
    health: Word


class Managed(_Strict, total=False):
    """What of each kind a role or an instance left, or what became of it."""

    files: dict[Path, FileState | None]
    units: dict[Name, Unit]
    boot_units: dict[Name, Boot]
    tables: dict[Table, Hash | None]
    stacks: dict[Name, dict[Name, Container]]
    holds: dict[Package, bool]
    folders: Annotated[list[Path], Field(max_length=20)]


class Manifest(_Strict):
    format: Annotated[int, Field(ge=1, le=1)]
    desired: dict[Role, Hash]
    entries: dict[Role, Managed]
    made_from: NotRequired[dict[Role, dict[Line, Line]]]
    placed: NotRequired[dict[Role, dict[Path, FileState]]]
    volumes: NotRequired[dict[Stack, list[Hash]]]


class Other(_Strict):
    kind: Word
    name: Line


class There(_Strict):
    """What is on a guest whether it is managed or not."""

    stacks: Annotated[dict[Stack, Annotated[list[Line], Field(max_length=MOST)]], Field(max_length=MOST)]
    others: Annotated[list[Other], Field(max_length=MOST)]


class Login(_Strict):
    ok: bool
    error: Text
    since: Text


class Version(_Strict):
    version: Count
    applied: Count


class Shown(_Strict):
    """A certificate of a guest or an instance."""

    name: Line
    serial: Line
    issued: Seconds
    not_after: Seconds
    applied: Line


class Status(_Strict):
    """What an agent says of itself."""

    login: Login
    entries: dict[Line, Version]
    tls: dict[Line, Shown]
    errors: list[Text]


class Probed(_Strict):
    manifest: Manifest
    actual: dict[Role, Managed]
    there: There
    secrets: dict[Path, Rights | None]
    agent: Status | None
    data: list[Annotated[str, Field(max_length=512)]]
    lines: dict[Path, list[Line] | None]


class Agent(_Strict):
    status: Status | None


class Placed(_Strict):
    changed: list[Line]
    system: Annotated[str, Field(pattern="^[a-z0-9._-]{0,40}$")]


class Forgotten(_Strict):
    forgotten: Line


def require_whole(where: str, answer: Probed, secrets: Collection[str], lines: Collection[str]) -> None:
    """Raises BadAnswer when the states are not those of what the manifest lists, or not those that were asked for."""
    for kind, asked, told in (("secrets", secrets, answer["secrets"]), ("lines", lines, answer["lines"])):
        if set(asked) != set(told):
            raise BadAnswer(f"its answer is about other {kind} than were asked for", where=where)
    entries, actual = answer["manifest"]["entries"], answer["actual"]
    for role, kept in entries.items():
        now: dict[str, Any] = {**actual.get(role, {})}
        for kind, listed in kept.items():
            if kind not in now or set(now[kind]) != set(listed):  # type: ignore[call-overload]
                raise BadAnswer(f"its answer contradicts itself: {kind} of {role}", where=where)
