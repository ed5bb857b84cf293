"""How secret values are made, and which entries a hub starts with."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Mapping

from aihub.errors import Conflict, HubError
from aihub.model.resolved import Hub, Pair, SecretRef
from aihub.model.stack import Alphabet
from aihub.services.secrets import Secrets

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


def ensure(hub: Hub, store: Secrets) -> list[str]:
    """Makes every entry that is missing; gives their paths. Of two that do so at once, the first wins."""
    made: list[str] = []
    pairs = {pair.entry.path: pair for pair in hub.pairs if pair.entry is not None}
    for pair in hub.pairs:
        if store.read(pair.path) is None and _create(store, pair.path, new_pair(pair)):
            made.append(pair.path)
    for ref in hub.secrets:
        if ref.kind != "pair" and store.read(ref.path) is None:
            data = _login(store, pairs[ref.path]) if ref.kind == "login" else new_value(ref)
            if _create(store, ref.path, data):
                made.append(ref.path)
    return made


def versions(hub: Hub, store: Secrets) -> dict[str, int]:
    """The newest version of every entry of the hub by its path; 0 where there is none yet."""
    return {path: entry.version if (entry := store.read(path)) else 0 for path in declared(hub)}


def declared(hub: Hub) -> list[str]:
    """The paths of all entries of the hub."""
    return list(dict.fromkeys([*(pair.path for pair in hub.pairs), *(ref.path for ref in hub.secrets)]))


def missing(hub: Hub, store: Secrets) -> list[str]:
    """The paths that `ensure` would make."""
    return [path for path, version in versions(hub, store).items() if not version]


def new_value(ref: SecretRef) -> dict[str, str]:
    """A fresh plain secret, as it is kept."""
    return {"value": generate(ref.alphabet, ref.length)}


def new_pair(pair: Pair) -> dict[str, str]:
    """Fresh passwords, the first in use."""
    length = pair.entry.length if pair.entry else PAIR_LENGTH
    return {**{half: generate("alphanumeric", length) for half in pair.halves}, "active": "a"}


def _login(store: Secrets, pair: Pair) -> dict[str, str]:
    entry = store.read(pair.path)
    if entry is None:
        raise HubError("the pair of this login is gone", where=pair.path, hint="aihub up")
    half = entry.data["active"]
    return {"user": pair.user(half), "password": entry.data[half]}


def _create(store: Secrets, path: str, data: Mapping[str, str]) -> bool:
    try:
        store.write(path, data, cas=0)
    except Conflict:
        return False
    return True
