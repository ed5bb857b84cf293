"""Everything of a hub that can be replaced, by the name that a person types, and what a replacement restarts. Pure.

INSTANCE/NAME     a plain secret, or a login elsewhere as its consumer calls it (app@web/sql_main)
PROVIDER/reconcile, PROVIDER/verify   aihub's own login there, and that of the checks
INSTANCE/tls      the certificate that it serves with; INSTANCE/NAME one that it shows elsewhere
GUEST/tls         the guest's own certificate, which its door serves with
GUEST/login       the secret-id with which a guest's agent logs in at the vault
controller/login, controller/ssh      this machine's own login at the vault, and its ssh key
node/token        the token with which aihub uses the Proxmox API
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from aihub.errors import InvalidInput
from aihub.model.delivery import LOGIN_DAYS
from aihub.model.resolved import RECONCILE, RECONCILE_ROLE, Certificate, Hub, Keep, Pair, SecretRef

Kind = Literal["pair", "value", "certificate", "login", "operator", "token", "key"]
CONTROLLER, NODE = "controller", "node"
KEY = f"{CONTROLLER}/ssh"
EARLY = 2 / 3  # of its life: what ends by itself is replaced before that
_FIXED = {
    "never": "encrypts data that is kept, so it is never replaced",
    "given": "is replaced by whoever gives it: aihub secrets set {}",
}
_EFFECTS = {"restart": "restarts {}", "reload": "reloads {}", "none": ""}


@dataclass(frozen=True)
class Rotatable:
    """One thing that can be replaced."""

    name: str
    kind: Kind
    guest: str  # whose agent has to take it up; empty for what no guest reads
    days: int | None  # how old it may get; None: nobody replaces it here
    effect: str = ""  # what is disturbed, in words; empty: nothing
    of: Pair | SecretRef | Certificate | None = None
    kept: str = ""  # what the journal calls it: by the instance's id, which a rename leaves as it is

    @property
    def owner(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def keep(self) -> Keep | None:
        """What a secret is that is kept with its instance's data, and not replaced here."""
        return self.of.keep if isinstance(self.of, SecretRef) else None

    @property
    def fixed(self) -> str:
        """Why it is not replaced here; empty: it is."""
        return _FIXED.get(self.keep or "", "").format(self.name)

    def due(self, since: datetime | None, now: datetime) -> bool:
        """Whether it is too old; what nobody knows the age of is not, nor what is never replaced."""
        return self.days is not None and since is not None and now - since >= timedelta(days=self.days)


def everything(hub: Hub) -> tuple[Rotatable, ...]:
    """All of them, in the order in which they are replaced. Raises InvalidInput when two have one name."""
    found = tuple(replace(one, kept=_kept(hub, one)) for one in _everything(hub))
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(
            f"two secrets of this hub would be called {', '.join(twice)}", where=hub.path, hint="rename one of them"
        )
    return found


def chosen(hub: Hub, words: Sequence[str], *, every: bool = False) -> tuple[Rotatable, ...]:
    """What a person asked for: names, or all that belongs to an instance, a guest, the controller or the node.

    Raises InvalidInput for a name that this hub does not have.
    """
    known = everything(hub)
    for word in words:
        if not any(word in (one.name, one.owner) for one in known):
            raise InvalidInput(f"this hub has no secret called {word}", where=hub.path, hint=_meant(word, known))
    return tuple(one for one in known if every or one.name in words or one.owner in words)


def replaceable(
    hub: Hub, words: Sequence[str], *, every: bool = False
) -> tuple[tuple[Rotatable, ...], tuple[Rotatable, ...]]:
    """Of what a person asked for, what is replaced, and what is left out because nobody replaces it here.

    Raises InvalidInput for a name that this hub does not have, and for one of the latter that was named itself.
    """
    found = chosen(hub, words, every=every)
    if refused := [one for one in found if one.fixed and one.name in words]:
        why = "; ".join(f"{one.name} {one.fixed}" for one in refused)
        raise InvalidInput(why, where=hub.path, hint="leave it out; --all does")
    return tuple(one for one in found if not one.fixed), tuple(one for one in found if one.fixed)


def due(items: Iterable[Rotatable], since: Mapping[str, datetime], now: datetime) -> tuple[Rotatable, ...]:
    """Those that are too old."""
    return tuple(one for one in items if one.due(since.get(one.name), now))


def _everything(hub: Hub) -> Iterator[Rotatable]:
    for pair in hub.pairs:
        yield _pair(hub, pair)
    for ref in hub.secrets:
        if ref.kind == "value":
            effect = _EFFECTS[ref.on_change].format(ref.instance)
            yield Rotatable(f"{ref.instance}/{ref.name}", "value", _guest(hub, ref.instance), ref.rotate, effect, ref)
    for one in hub.certificates:
        effect = _EFFECTS[one.on_change].format(one.instance)
        guest, days = _guest(hub, one.instance), int(one.days * EARLY)
        yield Rotatable(f"{one.instance}/{one.file.removesuffix('.pem')}", "certificate", guest, days, effect, one)
    for guest, one in hub.machines.items():
        effect = "reloads its door" if hub.door(guest) else ""
        yield Rotatable(f"{guest}/tls", "certificate", guest, int(one.days * EARLY), effect, one)
    for guest in hub.agents:
        yield Rotatable(f"{guest}/login", "login", guest, LOGIN_DAYS)
    if hub.vault is not None:
        yield Rotatable(f"{CONTROLLER}/login", "operator", "", LOGIN_DAYS)
    yield Rotatable(f"{NODE}/token", "token", "", LOGIN_DAYS)
    yield Rotatable(KEY, "key", "", LOGIN_DAYS)


def _pair(hub: Hub, pair: Pair) -> Rotatable:
    if pair.entry is not None:
        ref = pair.entry
        effect = _EFFECTS[ref.on_change].format(ref.instance)
        if pair.interrupts:
            effect = f"{effect or f'keeps out {ref.instance}'}, for at most {pair.interrupts}"
        return Rotatable(f"{ref.instance}/{ref.name}", "pair", _guest(hub, ref.instance), pair.rotate, effect, pair)
    if pair.role == RECONCILE_ROLE:
        effect = _EFFECTS["restart" if pair.strategy == "single" else "none"].format(pair.provider)
        return Rotatable(f"{pair.provider}/{RECONCILE}", "pair", _guest(hub, pair.provider), pair.rotate, effect, pair)
    return Rotatable(pair.name, "pair", "", pair.rotate, "", pair)


def _kept(hub: Hub, one: Rotatable) -> str:
    if one.of is None:
        return one.name
    owner = hub.instance(one.owner) if "@" in one.owner else hub.guests[one.owner]
    return f"{owner.id}/{one.name.partition('/')[2]}"


def _guest(hub: Hub, instance: str) -> str:
    return hub.instance(instance).guest.name


def _meant(word: str, known: Sequence[Rotatable]) -> str:
    names = [*dict.fromkeys(one.owner for one in known), *(one.name for one in known)]
    near = difflib.get_close_matches(word, names, 3, 0.5)
    same = [one.name for one in known if "/" in word and one.name.endswith(f"/{word.partition('/')[2]}")]
    found = list(dict.fromkeys([*near, *same[:3]]))
    return f"did you mean {' or '.join(found)}?" if found else "aihub secrets status names them"
