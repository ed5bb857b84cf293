"""What each guest makes copies of, and where to: as a need of the guest's own, in the shape of an instance.

So its repository, its key, its certificate and its way there are derived as everybody else's are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .resolved import VERIFY, Consumer, Guest, Instance
from .stack import COPIES, NEVER, Data, Needs, Stack

NAME = "backup"
"""What makes copies on a guest is called so; no stack is."""
OWN, PASSWORD = "own", "password"
"""What it calls its repository, and the key of that: it encrypts all copies, so that nothing replaces it by itself."""
FILES = ("stopped", "live")

_STACK = Stack.model_construct(
    name=NAME,
    title="Backup",
    why="makes copies of what lies on its guest",
    zones=["infra", "private", "public"],
    uid=0,
    lab="pull",
    memory=0,
    needs=Needs.model_validate(
        {
            "later": {COPIES: [OWN]},
            "secrets": {PASSWORD: {"length": 64, "rotate": NEVER, "on_change": "none"}},
            "on_login_change": "none",
        }
    ),
)


def copiers(guests: Iterable[Guest], instances: Iterable[Instance]) -> list[Instance]:
    """One for each guest with something to copy; none where no instance keeps copies."""
    every = tuple(instances)
    if not any(COPIES in one.stack.gives for one in every):
        return []
    return [copier(guest) for guest in guests if any(copied(one) for one in every if one.guest.name == guest.name)]


def copier(guest: Guest) -> Instance:
    """What makes copies on a guest, whether something lies there or not."""
    return Instance(_STACK, guest)


def copied(instance: Instance) -> tuple[Data, ...]:
    """The volumes of an instance whose content is copied, in whichever way."""
    return tuple(one for one in instance.stack.data if one.backup != "none")


def volumes(instance: Instance) -> tuple[str, ...]:
    """The volumes that are copied as files."""
    return tuple(one.volume for one in instance.stack.data if one.backup in FILES)


def stopped(instance: Instance) -> bool:
    """Whether an instance is stopped while its files are copied."""
    return any(one.backup == "stopped" for one in instance.stack.data)


def snapshot(instance: Instance) -> bool:
    """Whether what an instance gives as its own snapshot is copied."""
    return any(one.backup == "snapshot" for one in instance.stack.data)


def dumped(instance: Instance, consumers: Iterable[Consumer]) -> Iterator[Consumer]:
    """Those who keep something at an instance that its programs dump; what the checks write there is nobody's."""
    for one in consumers:
        known = one.provider == instance.name and one.consumer != VERIFY and one.strategy
        if known and instance.stack.gives[one.kind].dump:
            yield one
