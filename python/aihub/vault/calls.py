"""The four calls that everything at the vault is made of, and what they answer with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Answer = dict[str, Any]
Names = list[str]  # classes here have a method called list


class Calls(ABC):
    """Read, list, write and delete by path, with every error translated."""

    # By path through hvac's adapter: hvac's methods have no place for `repeat`, which is decided at each call.
    server_name: str

    @abstractmethod
    def get(self, path: str) -> Answer | None:
        """What lies at a path: the answer's `data`. None when there is nothing."""

    @abstractmethod
    def names(self, path: str) -> Names:
        """The names directly below a path, sorted; empty when there are none."""

    @abstractmethod
    def put(self, path: str, data: Mapping[str, Any], *, wrap: int = 0, repeat: bool = True) -> Answer:
        """Writes; gives the whole answer. `repeat`: doing it twice does no harm, so a lost answer is asked again."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Removes; fine if there is nothing."""


@dataclass(frozen=True)
class Health:
    """How the server is. `skew` is its clock minus ours, in seconds."""

    initialised: bool
    sealed: bool
    standby: bool
    version: str
    skew: float


@dataclass(frozen=True)
class Initialised:
    """What initialising gives, once and never again."""

    shares: tuple[str, ...] = field(repr=False)
    root_token: str = field(repr=False)


@dataclass(frozen=True)
class Token:
    """A token as the server knows it."""

    accessor: str
    role: str  # of the AppRole that it came from
    policies: tuple[str, ...]


@dataclass(frozen=True)
class SecretId:
    """A secret-id as the server lists it, or with its value where it was just made."""

    accessor: str
    created: datetime
    expires: datetime | None
    value: str = field(default="", repr=False)


@dataclass(frozen=True)
class Wrapped:
    """A token that gives its content once."""

    token: str = field(repr=False)


@dataclass(frozen=True)
class Leaf:
    """A certificate with its chain (leaf first, no root) and key."""

    chain: str
    key: str = field(repr=False)
    serial: str
    not_after: datetime


def moment(text: str) -> datetime | None:
    """A time as the server writes it; None for its zero time and for nothing."""
    if not text or text.startswith("0001-"):
        return None
    head, dot, tail = text.partition(".")
    if dot:  # nanoseconds: Python takes six digits
        digits = tail.rstrip("Z").split("+")[0].split("-")[0]
        tail = digits[:6] + tail[len(digits) :]
    return datetime.fromisoformat((head + dot + tail).replace("Z", "+00:00"))


def certain(text: str) -> datetime:
    """A time that must be there."""
    found = moment(text)
    if found is None:
        raise ValueError("the vault gave no time")
    return found
