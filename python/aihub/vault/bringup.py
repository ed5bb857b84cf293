"""Brings a vault up from nothing, and finishes what an interrupted run began.

Each step looks first at what is there. Nothing is lost at any point: what exists once only (shares, root token, the
authority's key) is on disk before the next step, and leaves it when the recovery kit, the node and the operator's
own login are all proven.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from aihub.secrets import kits
from aihub.state.directory import State
from aihub.state.statefile import replace as replace_file

from ..errors import PreconditionFailed
from ..model.resolved import Hub
from . import certificates, desired, pending, setup
from .calls import Health
from .client import Vault, operator
from .errors import Denied
from .pending import Pending
from .setup import Say

SHARES, THRESHOLD = 5, 3
ANSWER = 60.0  # seconds until a server that was just started must answer
ACTIVE = 30.0  # seconds until an opened one must serve


@dataclass(frozen=True)
class Outside:
    """What bringing up needs of others; each may be called again after an interruption."""

    recipients: Sequence[str]
    """Who can open the recovery kit (kits.recipients)."""
    seal: Callable[[Sequence[str]], None]
    """Puts the shares that unseal (exactly the threshold) on the node, sealed there."""
    prove: Callable[[kits.Kit], None]
    """Lets the operator show that the kit can be opened (kits.prove_file, kits.prove_code); raises if not."""
    wipe: Callable[[], None]
    """Empties the vault's storage and starts its server again: called only for one whose shares nobody ever got."""


def bring_up(hub: Hub, state: State, vault: Vault, outside: Outside, say: Say = lambda text: None) -> None:
    """The vault serves, holds what the hub declares, and can be recovered without this machine.

    Raises PreconditionFailed for an initialised vault whose keys were never here.
    """
    pending.authority(hub, state)
    health = vault.wait(lambda found: True, ANSWER)
    left = pending.read(state)
    if health.initialised and left and left.initialising and not left.shares:
        say("an interrupted run began to initialise the vault and never got its shares: it starts anew")
        outside.wipe()
        health = vault.wait(lambda found: not found.initialised, ANSWER)
    if not health.initialised:
        left = _initialise(hub, state, vault, left, say)
    elif (left is None or not left.shares) and not state.vault_login.is_file():
        raise _foreign(hub, state)
    if left is not None and left.shares:
        _finish(hub, state, vault, left, outside, say)
    else:
        serve(vault, health)
        vault.login(*operator(state))
        setup.apply(vault, hub, say)
        _require_intermediate(vault)


def serve(vault: Vault, health: Health | None = None) -> None:
    """Raises NotReady when the server is sealed, and waits until an open one serves."""
    health = health or vault.health()
    if health.sealed:
        vault.get("sys/mounts")  # says it in the words of every other call
    vault.wait(lambda found: not found.sealed and not found.standby, ACTIVE)


def unseal(vault: Vault, shares: Sequence[str], say: Say = lambda text: None) -> None:
    """Hands in shares until the server is open, and waits until it serves. Fine when it is open already."""
    if vault.health().sealed:
        if not any(vault.unseal(share) for share in shares):
            raise PreconditionFailed(
                f"{len(shares)} shares did not open the vault: {THRESHOLD} different ones of its own are needed",
                where=vault.server_name,
                hint="aihub secrets unseal --kit FILE --identity KEY",
            )
        say("unsealed")
    vault.wait(lambda found: not found.sealed and not found.standby, ACTIVE)


def _initialise(hub: Hub, state: State, vault: Vault, left: Pending | None, say: Say) -> Pending:
    if left is None or left.shares:
        raise PreconditionFailed(
            "the vault is empty, but this hub had one before: its data is gone",
            where=desired.vault_of(hub).name,
            hint="restore its data; or to begin anew with fresh secrets: aihub up --allow-destroy vault@GUEST",
        )
    say("initialised: 5 shares, 3 open it")
    pending.write(state, replace(left, initialising=True))
    found = vault.initialise(SHARES, THRESHOLD)
    made = replace(left, initialising=False, shares=found.shares, root_token=found.root_token)
    pending.write(state, made)
    return made


def _finish(hub: Hub, state: State, vault: Vault, left: Pending, outside: Outside, say: Say) -> None:
    """From an initialised vault to one that needs nothing of this machine's disk."""
    unseal(vault, left.shares[:THRESHOLD], say)
    if _root(vault, left):
        setup.apply(vault, hub, say)
        _intermediate(hub, vault, left, say)
        _operator(state, vault, say)
    vault.login(*operator(state))
    setup.apply(vault, hub, say)  # with the operator's own login: what it may not do shows now, not in a month
    _intermediate(hub, vault, left, say)
    outside.seal(left.shares[:THRESHOLD])
    say("the node holds its shares")
    kit = kits.issue(hub, state, outside.recipients, kits.root_of(left))
    if not kit.proven:
        outside.prove(kit)
    _require_proof(state)
    if _root(vault, left):
        vault.revoke_self()
        say("the root token is revoked")
    vault.login(*operator(state))
    pending.remove(state)


def _require_proof(state: State) -> None:
    kit = kits.newest(state)
    if kit is None or not kit.proven:
        raise PreconditionFailed(
            "nobody has shown yet that the recovery kit can be opened",
            where=str(kit.path if kit else state.kit),
            hint="aihub up --kit-proof KEY",
        )


def _root(vault: Vault, left: Pending) -> bool:
    """Works as root; False when the root token was revoked already, which is nearly the last step."""
    vault.use(left.root_token)
    try:
        vault.token()
    except Denied:
        return False
    return True


def _intermediate(hub: Hub, vault: Vault, left: Pending, say: Say) -> None:
    present = vault.intermediate()
    if present and certificates.signed_by(present, left.authority.certificate):
        return
    request = vault.request_intermediate(f"{hub.name} intermediate of {hub.domain}"[:64])
    vault.install_intermediate(certificates.sign_intermediate(left.authority, request, hub.domain))
    say("the authority for internal certificates stands")


def _require_intermediate(vault: Vault) -> None:
    if not vault.intermediate():
        raise PreconditionFailed(
            "the vault has lost its certificate authority, and the key that signs a new one is in the recovery kit",
            where=vault.server_name,
            hint="aihub secrets kit --restore FILE --identity KEY, then aihub up",
        )


def _operator(state: State, vault: Vault, say: Say) -> None:
    """The controller's own login: one secret-id, on disk here before any older one ends."""
    if state.vault_login.is_file():
        known = json.loads(state.vault_login.read_text())
        if known["accessor"] in {one.accessor for one in vault.secret_ids(desired.OPERATOR)}:
            return
    new_operator(state, vault)
    say("the operator's login stands")


def new_operator(state: State, vault: Vault) -> None:
    """A fresh secret-id for the controller; the older ones end when it is on disk."""
    found = vault.secret_id(desired.OPERATOR)
    data = {
        "role_id": vault.role_id(desired.OPERATOR),
        "secret_id": found.value,
        "accessor": found.accessor,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    replace_file(state.vault_login, json.dumps(data, indent=1) + "\n")
    for one in vault.secret_ids(desired.OPERATOR):
        if one.accessor != found.accessor:
            vault.destroy_secret_id(desired.OPERATOR, one.accessor)


def _foreign(hub: Hub, state: State) -> PreconditionFailed:
    vault = desired.vault_of(hub).name
    newest = kits.newest(state)
    kit = newest.path.name if newest else "the recovery kit"
    return PreconditionFailed(
        "the vault is initialised, and this machine has neither its shares nor a login",
        where=vault,
        hint=f"aihub secrets kit --restore {kit} --identity KEY; or to lose its content: "
        f"aihub up --allow-destroy {vault}",
    )
