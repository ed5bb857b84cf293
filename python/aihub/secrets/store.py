"""How secret values are made, and which entries a hub starts with."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Mapping

from aihub.errors import Conflict, HubError, PreconditionFailed
from aihub.model.resolved import RECONCILE_ROLE, Hub, Pair, SecretRef
from aihub.model.stack import Alphabet
from aihub.services import service as services
from aihub.services.secrets import Entry, Marked, Secrets

from . import kept

# Nothing that a shell, a URL or a configuration file must quote.
_ALPHANUMERIC = string.ascii_letters + string.digits
PAIR_LENGTH = 40
"""Characters of a password that no stack declares."""


def generate(alphabet: Alphabet, length: int) -> str:
    """A fresh value of exactly `length` characters."""
    if alphabet == "hex":
        return secrets.token_hex((length + 1) // 2)[:length]
    if alphabet == "base64":
        return base64.b64encode(secrets.token_bytes((length * 3 + 3) // 4)).decode()[:length]
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))


def ensure(hub: Hub, store: Marked) -> list[str]:
    """Makes every entry that is missing, but for what a person gives, and has each say what keeps it; gives the paths
    of what it changed. Of two that make one at once, the first wins.
    """
    refs = {ref.path: ref for ref in hub.secrets}
    pairs = {pair.path: pair for pair in hub.pairs}
    logins = {pair.entry.path: pair for pair in hub.pairs if pair.entry is not None}
    made: list[str] = []
    for path in _in_order(hub, refs):
        ref, entry = refs.get(path), store.read(path)
        if entry is None and ref and ref.given:
            continue
        # Before its value is there: nobody must find a value that has to be kept and does not say so.
        changed = ref is not None and kept.mark(hub, store, ref, entry)
        if entry is None and path in pairs:
            changed = _create(store, path, fresh_pair(hub, store, pairs[path]))
        elif entry is None and ref:
            changed = _create(store, path, _login(store, logins[path]) if path in logins else new_value(ref))
        elif entry is not None and path in logins and _is_another(logins[path], store.read(logins[path].path), entry):
            store.write(path, _login(store, logins[path]), cas=entry.version)
            changed = True
        if changed:
            made.append(path)
    return made


def _in_order(hub: Hub, refs: Mapping[str, SecretRef]) -> list[str]:
    """Plain values first, since passwords may be made of them; pairs before what is read of them."""
    return sorted(declared(hub), key=lambda path: path not in refs or refs[path].kind != "value")


def entries(hub: Hub, store: Secrets) -> dict[str, Entry | None]:
    """Every entry of the hub by its path; None where there is none yet."""
    return {path: store.read(path) for path in declared(hub)}


def versions(hub: Hub, store: Secrets) -> dict[str, int]:
    """The newest version of every entry of the hub by its path; 0 where there is none yet."""
    return {path: entry.version if entry else 0 for path, entry in entries(hub, store).items()}


def coming(hub: Hub, store: Secrets) -> dict[str, int]:
    """The versions once `ensure` has done its work; 0 for what a person has still to give."""
    given, found = {ref.path for ref in hub.secrets if ref.given}, entries(hub, store)
    anew = {pair.entry.path for pair in elsewhere(hub, found) if pair.entry}
    there = {path: entry.version if entry else 0 for path, entry in found.items()}
    return {path: version + int(path in anew) or int(path not in given) for path, version in there.items()}


def elsewhere(hub: Hub, found: Mapping[str, Entry | None]) -> list[Pair]:
    """The logins that consumers have an entry of, but one of another provider than now: `ensure` writes it anew."""
    every = [(pair, found[pair.entry.path]) for pair in hub.pairs if pair.entry]
    return [pair for pair, entry in every if entry is not None and _is_another(pair, found[pair.path], entry)]


def _is_another(pair: Pair, have: Entry | None, entry: Entry) -> bool:
    """Whether an entry holds no login of its pair, and no rotation is why: that one writes the pair first."""
    if have is None:
        return True
    return have.version == 1 and all(entry.data != _half(pair, have, half) for half in pair.halves)


def declared(hub: Hub) -> list[str]:
    """The paths of all entries of the hub."""
    return list(dict.fromkeys([*(pair.path for pair in hub.pairs), *(ref.path for ref in hub.secrets)]))


def generated(hub: Hub) -> list[str]:
    """The paths of those that `ensure` makes in an empty store: all but what a person gives."""
    given = {ref.path for ref in hub.secrets if ref.given}
    return [path for path in declared(hub) if path not in given]


def missing(hub: Hub, found: Mapping[str, Entry | None]) -> list[str]:
    """The paths that `ensure` would make, where these entries are there."""
    return [path for path in generated(hub) if found[path] is None]


def new_value(ref: SecretRef) -> dict[str, str]:
    """A fresh plain secret, as it is kept."""
    return {"value": generate(ref.alphabet, ref.length)}


def new_pair(pair: Pair) -> dict[str, str]:
    """Fresh passwords, the first in use."""
    length = pair.entry.length if pair.entry else PAIR_LENGTH
    return {**{half: generate("alphanumeric", length) for half in pair.halves}, "active": "a"}


def fresh_pair(hub: Hub, store: Secrets, pair: Pair) -> dict[str, str]:
    """As `new_pair`; where the provider makes its consumers' passwords, what it makes of these and its secrets."""
    values, provider = new_pair(pair), hub.instance(pair.provider)
    make = services.maker(provider.stack.name) if pair.role != RECONCILE_ROLE else None
    if make is None:
        return values
    own: dict[str, str] = {}
    for ref in hub.secrets:
        if (ref.instance, ref.kind) == (provider.name, "value"):
            entry = store.read(ref.path)
            if entry is None:
                what = f"a password of {pair.role} can't be made: this secret of {provider.name} is missing"
                raise PreconditionFailed(what, where=ref.path, hint="aihub up")
            own[ref.name] = entry.data["value"]
    return {**values, **{half: make(pair.role, values[half], own) for half in pair.halves}}


def _login(store: Secrets, pair: Pair) -> dict[str, str]:
    entry = store.read(pair.path)
    if entry is None:
        raise HubError("Vault no longer holds the passwords of this login", where=pair.path, hint="aihub up")
    return _half(pair, entry, entry.data["active"])


def _half(pair: Pair, entry: Entry, half: str) -> dict[str, str]:
    return {"user": pair.user(half), "password": entry.data[half]}


def _create(store: Secrets, path: str, data: Mapping[str, str]) -> bool:
    try:
        store.write(path, data, cas=0)
    except Conflict:
        return False
    return True
