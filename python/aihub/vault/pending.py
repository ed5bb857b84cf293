"""What lies on the controller's disk while a vault is brought up: the authority's key, shares and root token.

They are here from the moment they exist until the recovery kit is proven, the node holds its shares and the
operator's own login works. Then the file goes, and the kit alone has them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from aihub.state.directory import State
from aihub.state.statefile import replace as replace_file

from ..errors import HubError, PreconditionFailed
from ..model.resolved import Hub
from . import certificates
from .certificates import Authority, Issued
from .desired import vault_of

FORMAT = 1


@dataclass(frozen=True)
class Pending:
    """Everything that only the recovery kit holds in the end."""

    authority: Authority
    initialising: bool = False  # the call that makes the shares may have been sent
    shares: tuple[str, ...] = field(default=(), repr=False)
    root_token: str = field(default="", repr=False)


def read(state: State) -> Pending | None:
    """What is on its way; None when nothing is."""
    try:
        data: Any = json.loads(state.vault_pending.read_text())
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}, this version knows {FORMAT}")
        authority = Authority(data["certificate"], data["key"])
        return Pending(authority, data["initialising"], tuple(data["shares"]), data["root_token"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(
            f"what was left by an interrupted run cannot be read: {error}",
            where=str(state.vault_pending),
            hint="it may hold the only shares of the vault: keep a copy before you remove it",
        ) from None


def write(state: State, pending: Pending) -> None:
    """Puts it on disk before it returns, 0600."""
    data = {
        "format": FORMAT,
        "certificate": pending.authority.certificate,
        "key": pending.authority.key,
        "initialising": pending.initialising,
        "shares": list(pending.shares),
        "root_token": pending.root_token,
    }
    replace_file(state.vault_pending, json.dumps(data, indent=1) + "\n")


def remove(state: State) -> None:
    """The kit has it all now."""
    state.vault_pending.unlink(missing_ok=True)


def authority(hub: Hub, state: State) -> str:
    """The hub's root certificate, made when there is none: first its key is safe on disk, then it is published."""
    pending = read(state)
    if pending is None:
        if state.ca.is_file():
            return state.ca.read_text()
        pending = Pending(certificates.new_root(hub.name, hub.domain))
        write(state, pending)
    if not state.ca.is_file() or state.ca.read_text() != pending.authority.certificate:
        replace_file(state.ca, pending.authority.certificate)
    return pending.authority.certificate


def listener(hub: Hub, state: State, present: str = "") -> Issued | None:
    """The certificate and key that the vault's guest still lacks; None when `present` (a PEM text) is good.

    Raises PreconditionFailed when one is needed and the root's key is in the recovery kit only.
    """
    vault = vault_of(hub)
    name = vault.guest.fqdn
    root = authority(hub, state)
    if present.strip() and _good(present, name, root):
        return None
    pending = read(state)
    if pending is None:
        raise PreconditionFailed(
            f"the certificate of {name} is gone or not ours, and the key that signs a new one is in the recovery kit",
            where=vault.name,
            hint="aihub secrets kit --restore FILE --identity KEY, then aihub up",
        )
    return certificates.listener(pending.authority, name)


def restored(state: State, found: Pending) -> None:
    """Takes up again what a recovery kit holds; the vault exists, so nothing is being initialised."""
    write(state, replace(found, initialising=False))


def forget(state: State) -> None:
    """Lets go of a vault whose content is given up: the next one gets an authority and a login of its own.

    Only for a hub whose operator said so (--allow-destroy): what was pending or known here is gone with it.
    """
    for path in (state.vault_login, state.vault_pending, state.ca):
        path.unlink(missing_ok=True)


def _good(chain: str, name: str, root: str) -> bool:
    try:
        facts = certificates.facts(chain)
    except HubError:
        return False
    # One that the vault itself issued later has its intermediate behind it.
    signers = [
        root,
        *(f"{part}-----END CERTIFICATE-----\n" for part in chain.split("-----END CERTIFICATE-----\n")[1:-1]),
    ]
    return facts.names == (name,) and facts.left > 0 and any(certificates.signed_by(chain, one) for one in signers)
