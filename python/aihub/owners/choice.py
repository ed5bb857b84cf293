"""What a person named for this run: a few guests or instances; what others differ in is left for another one.

What everything rests on (the node, the store, what is inside services) is made true for all, so what changes there
because of somebody who was not named can't be left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from aihub.errors import InvalidInput, PreconditionFailed
from aihub.guests.probe.compare import STACK, TEXTS, summary
from aihub.model.resolved import Hub
from aihub.plan import Change, Plan

_SHARED = ("node", "vault", "services")
_SEEN_BY_ALL = ("create", "delete")  # the node's names and walls, logins at services


@dataclass(frozen=True)
class Choice:
    """The guests that were named, and those of the instances that were named, each with its stacks."""

    whole: frozenset[str]
    stacks: dict[str, frozenset[str]]

    def __contains__(self, guest: str) -> bool:
        """Whether anything of a guest was named."""
        return guest in self.whole or guest in self.stacks

    def has(self, guest: str, stack: str) -> bool:
        """Whether an instance was named, or its guest."""
        return guest in self.whole or stack in self.stacks.get(guest, ())

    def names(self, instance: str) -> bool:
        """The same for STACK@GUEST."""
        stack, _, guest = instance.rpartition("@")
        return self.has(guest, stack)


class Everything(Choice):
    """Nobody was named: all are."""

    def __init__(self) -> None:
        super().__init__(frozenset(), {})

    def __contains__(self, guest: str) -> bool:
        return True

    def has(self, guest: str, stack: str) -> bool:
        return True


def of(hub: Hub, names: Collection[str]) -> Choice:
    """What these names stand for. Raises InvalidInput for one that hub.yml does not have."""
    if not names:
        return Everything()
    found = [named(hub, name) for name in names]
    stacks: dict[str, frozenset[str]] = {}
    for guest, stack in found:
        if stack:
            stacks[guest] = stacks.get(guest, frozenset()) | {stack}
    return Choice(frozenset(guest for guest, stack in found if not stack), stacks)


def named(hub: Hub, name: str) -> tuple[str, str]:
    """Guest and stack of `STACK@GUEST`, or a guest and no stack. Raises InvalidInput for what hub.yml does not have."""
    known = [*hub.guests, *(one.name for one in hub.instances)]
    if name not in known:
        same = [one for one in known if one.startswith(f"{name}@")]
        raise InvalidInput(f"there is no guest or instance {name}", hint=f"one of: {', '.join(same or known)}")
    stack, at, guest = name.rpartition("@")
    return guest, stack if at else ""


def narrowed(plan: Plan, choice: Choice) -> Plan:
    """A plan without what nobody named.

    Raises PreconditionFailed where that is seen by all: a guest that comes or goes, an instance that goes.
    """
    if isinstance(choice, Everything):
        return plan
    if late := [c for c in plan.changes if not _kept(c, choice) and c.action in _SEEN_BY_ALL]:
        names = ", ".join(dict.fromkeys(f"{change.subject}: {change.action}" for change in late))
        raise PreconditionFailed(
            f"others rest on what would be left out ({names})", hint="aihub up, or name these guests, too"
        )
    kept = tuple(only(plan.changes, choice))
    left = sorted({name for change in plan.changes for name in _left(change, choice)})
    note = (f"left for another run, as they were not named: {', '.join(left)}",) if left else ()
    return replace(
        plan,
        changes=kept,
        unknown=tuple(name for name in plan.unknown if name in choice),
        warnings=(*plan.warnings, *note),
        waiting={name: why for name, why in plan.waiting.items() if choice.names(name)},
    )


def only(changes: Iterable[Change], choice: Choice) -> Iterable[Change]:
    """The changes of what was named, each about no other instance."""
    for change in changes:
        if _kept(change, choice):
            parts = tuple(part for part in change.parts if _wanted(change.holder, part, choice))
            yield change if len(parts) == len(change.parts) else _about(change, parts, choice)


def _about(change: Change, parts: Collection[str], choice: Choice) -> Change:
    """A change of a guest that is about these of its parts alone, and tells of no other."""
    texts = {part: text for part, text in change.details.get(TEXTS, {}).items() if part in parts}
    roles = any(not part.startswith(STACK) for part in parts)  # which may disturb every instance
    restarting = tuple(name for name in change.restarting if roles or choice.names(name))
    text = summary(texts) if texts else change.summary
    return replace(change, parts=tuple(parts), summary=text, restarting=restarting, restart=bool(restarting))


def _left(change: Change, choice: Choice) -> Iterable[str]:
    """Whom a change would be about that was not named."""
    if not _kept(change, choice):
        yield change.subject
    else:
        parts = (part for part in change.parts if not _wanted(change.holder, part, choice))
        yield from (f"{part.removeprefix(STACK)}@{change.holder}" for part in parts)


def _kept(change: Change, choice: Choice) -> bool:
    if change.owner in _SHARED:
        return True
    stack, at, guest = change.holder.rpartition("@")
    if at:
        return choice.has(guest, stack)
    if guest in choice.whole:
        return True
    if change.owner == "guests" or change.later or guest not in choice:
        return False
    return not change.parts or any(_wanted(guest, part, choice) for part in change.parts)


def _wanted(guest: str, part: str, choice: Choice) -> bool:
    """Whether a role, or a stack, of a guest is made true: its roles are what each of its instances stands on."""
    return not part.startswith(STACK) or choice.has(guest, part.removeprefix(STACK))
