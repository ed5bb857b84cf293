"""Secrets that a person gives: which they are, what may be given, and who waits for one that nobody gave yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from aihub.errors import InvalidInput
from aihub.model.resolved import Hub, SecretRef
from aihub.services.secrets import Marked, Secrets

from . import kept
from .rotation import catalog

WAITS = "waits for "
_AND, _SET = " and ", "aihub secrets set "
LONGEST = 64 << 10
"""Bytes of a value."""
SEARCHED = 16
"""Characters of a value below which no search for leaks can tell it from chance."""


def name(ref: SecretRef) -> str:
    """What a person calls it."""
    return f"{ref.instance}/{ref.name}"


def command(ref: SecretRef) -> str:
    """What gives it."""
    return f"{_SET}{name(ref)}"


def chosen(hub: Hub, word: str) -> SecretRef:
    """The given secret of that name. Raises InvalidInput where there is none, or where nobody can give it."""
    known = {one.name: one for one in catalog.chosen(hub, [word])}
    if word not in known:
        inside = [name(ref) for ref in hub.secrets if ref.given and ref.instance == word]
        hint = f"one of: {', '.join(inside)}" if inside else "aihub secrets status names them"
        raise InvalidInput(f"{word} has secrets, and which of them is meant is not said", where=hub.path, hint=hint)
    ref = known[word].of
    if not isinstance(ref, SecretRef) or not ref.given:
        why = f"{word} is made by aihub: nobody gives it, and nobody takes it away"
        hint = f"aihub secrets rotate {word}" if known[word].days else "stack.yml says `given: true` of those"
        raise InvalidInput(why, where=hub.path, hint=hint)
    return ref


def checked(data: bytes, where: str) -> str:
    """The value that was given, without the newline at its end. Raises InvalidInput, quoting nothing of it."""
    value = data.removesuffix(b"\n").removesuffix(b"\r")
    if not value.strip():
        raise InvalidInput("nothing was given", where=where, hint=f"aihub secrets set {where} < FILE")
    if len(value) > LONGEST:
        raise InvalidInput(f"the value is longer than {LONGEST >> 10} KiB", where=where)
    if b"\0" in value:
        raise InvalidInput("the value has a NUL byte in it, which no file of a secret may have", where=where)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInput("the value is no text (UTF-8)", where=where, hint="encode it, with base64 say") from None


def put(hub: Hub, store: Marked, ref: SecretRef, value: str) -> int:
    """The store holds this value; gives its version. Raises Moved when somebody changed it at the same moment."""
    entry = store.read(ref.path)
    kept.mark(hub, store, ref, entry)
    if entry is not None and entry.data == {"value": value}:
        return entry.version
    return store.write(ref.path, {"value": value}, entry.version if entry else 0)


def missing(hub: Hub, store: Secrets) -> list[SecretRef]:
    """What nobody gave yet."""
    return [ref for ref in hub.secrets if ref.given and store.read(ref.path) is None]


def waits(hub: Hub, absent: Collection[SecretRef]) -> dict[str, str]:
    """The instances that can't start without what is absent, each with the reason; their consumers wait with them."""
    found: dict[str, str] = {}
    for instance in hub.instances:  # providers come before their consumers
        own = [ref for ref in absent if ref.instance == instance.name]
        behind = [provider for provider in instance.started_after if provider in found]
        if own or behind:
            found[instance.name] = WAITS + _AND.join([*map(command, own), *behind])
    return found


def asked_for(waits: Mapping[str, str]) -> list[str]:
    """The commands that these instances wait for, each once."""
    parts = (part for why in waits.values() for part in why.removeprefix(WAITS).split(_AND))
    return list(dict.fromkeys(part for part in parts if part.startswith(_SET)))


def commands(absent: Sequence[SecretRef]) -> str:
    """What gives all of it."""
    return "; ".join(map(command, absent))
