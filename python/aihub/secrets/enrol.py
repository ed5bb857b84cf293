"""Who gets into the vault: a guest's first login, its end, and what the vault knows of each guest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from aihub import ssh
from aihub.errors import CheckFailed, InvalidInput, TaskFailed
from aihub.model.resolved import Hub
from aihub.names import approle
from aihub.state.directory import State
from aihub.vault.client import Vault
from aihub.vault.desired import is_random

WRAPPED = 120  # seconds that a wrapped secret-id waits to be taken
ALARM = 3  # what `hub-agent unwrap` ends with when somebody else was there first
UNWRAP = ("/usr/local/bin/hub-agent", "unwrap")
Hand = Callable[[str, bytes], int]  # guest, token and role-id, a line each -> exit code of `hub-agent unwrap` there


@dataclass(frozen=True)
class Login:
    """What the vault knows of a guest's login. `since` and `until` are those of its newest secret-id."""

    guest: str
    present: bool  # the AppRole is there
    secret_ids: int
    since: datetime | None = None
    until: datetime | None = None


def enrol(hub: Hub, state: State, vault: Vault, guest: str, *, hand: Hand | None = None) -> None:
    """Gives a guest a new secret-id, inside a token that only its first reader can open; older ones end then.

    Raises CheckFailed (the alarm) when the token was opened by someone else, or is not what it should be: what it
    held is worthless by then, and nothing is tried again.
    """
    role = approle(known(hub, guest))
    before = {one.accessor for one in vault.secret_ids(role)}
    role_id, wrapped = vault.role_id(role), vault.wrapped_secret_id(role, WRAPPED)
    made = [one.accessor for one in vault.secret_ids(role) if one.accessor not in before]
    code = (hand or _over_ssh(state))(guest, f"{wrapped.token}\n{role_id}\n".encode())
    if code == 0:
        for accessor in before:
            vault.destroy_secret_id(role, accessor)
        return
    for accessor in made:
        vault.destroy_secret_id(role, accessor)
    if code == ALARM:
        vault.revoke_tokens(role)
        raise CheckFailed(
            "ALARM: the secret-id on its way to this guest was opened by someone else. It is worthless now, "
            "and every token of this guest has ended",
            where=guest,
            hint=f"who asked: audit log of the vault, auth/approle/role/{role}; when it is explained: aihub up",
        )
    raise TaskFailed(f"hub-agent unwrap ended with exit code {code}", where=guest, hint="aihub up")


def revoke(hub: Hub, vault: Vault, guest: str) -> int:
    """Ends a guest's access: secret-ids first, so that no token follows, then tokens. Gives how many there were.

    What is rendered on the guest already stays there, and its services go on; `aihub up` gives it a new login.
    """
    role = approle(known(hub, guest))
    ended = 0
    for one in vault.secret_ids(role):
        vault.destroy_secret_id(role, one.accessor)
        ended += 1
    return ended + vault.revoke_tokens(role)


def logins(hub: Hub, vault: Vault) -> list[Login]:
    """What the vault knows of every guest that has an agent."""
    present = set(vault.approles())
    found = []
    for guest in hub.agents:
        role = approle(hub.guests[guest].id)
        every = vault.secret_ids(role) if role in present else []
        newest = every[-1] if every else None
        since, until = (newest.created, newest.expires) if newest else (None, None)
        found.append(Login(guest, role in present, len(every), since, until))
    return found


def ended(hub: Hub, vault: Vault) -> frozenset[str]:
    """The guests that need a new login: never enrolled, or revoked, or with a role-id that `up` will replace.

    A token that an agent still holds is no login.
    """
    present = set(vault.approles())  # OpenBao answers with an error where the AppRole itself is still to be made
    roles = {guest: approle(hub.guests[guest].id) for guest in hub.agents}
    return frozenset(g for g, role in roles.items() if role not in present or not _stays(vault, role))


def _stays(vault: Vault, role: str) -> bool:
    return vault.has_secret_id(role) and is_random(vault.role_id(role))


def _over_ssh(state: State) -> Hand:
    def hand(guest: str, handed: bytes) -> int:
        return ssh.run(state, guest, list(UNWRAP), stdin=handed, timeout=60, check=False).returncode

    return hand


def known(hub: Hub, guest: str) -> str:
    """The id of a guest. Raises InvalidInput for one that the hub does not have."""
    if guest not in hub.guests:
        raise InvalidInput(f"there is no guest {guest}", where=hub.path, hint="aihub status names them")
    return hub.guests[guest].id
