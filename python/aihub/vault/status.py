"""How the vault is, in one look that never fails: for people, and for checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aihub.secrets import enrol, kits
from aihub.secrets.enrol import Login
from aihub.state.directory import State

from ..errors import HubError
from ..model.resolved import Hub
from . import setup
from .client import Vault, connected, operator


@dataclass(frozen=True)
class Status:
    """`error` and `hint` say what keeps the vault from serving us; everything below is then unknown."""

    server: str
    error: str = ""
    hint: str = ""
    initialised: bool | None = None
    sealed: bool | None = None
    version: str = ""
    warnings: tuple[str, ...] = ()
    logins: tuple[Login, ...] = ()
    unfinished: bool = False  # shares and root token still lie on this machine
    kit: kits.Kit | None = None
    kit_stale: str = ""


def status(hub: Hub, state: State, to: Sequence[str], vault: Vault | None = None) -> Status:
    """Looks at server, logins and kit; `to` are those who can open the kit (kits.recipients)."""
    about = {
        "server": hub.vault.guest.fqdn if hub.vault else "",
        "unfinished": state.vault_pending.is_file(),
        "kit": kits.newest(state),
        "kit_stale": kits.stale(hub, state, to),
    }
    try:
        if vault is not None:
            return _look(hub, state, vault, about)
        with connected(hub, state) as found:
            return _look(hub, state, found, about)
    except HubError as error:
        return Status(**{**about, "error": str(error), "hint": error.hint})  # type: ignore[arg-type]


def _look(hub: Hub, state: State, vault: Vault, about: dict[str, object]) -> Status:
    health = vault.health()
    known = {**about, "initialised": health.initialised, "sealed": health.sealed, "version": health.version}
    if health.sealed:
        hint = "aihub secrets unseal" if health.initialised else "aihub up"
        error = f"the vault at {vault.server_name} is {'sealed' if health.initialised else 'not initialised'}"
        return Status(**{**known, "error": error, "hint": hint})  # type: ignore[arg-type]
    try:
        vault.login(*operator(state))
        return Status(
            **{**known, "warnings": tuple(setup.warnings(vault, hub)), "logins": tuple(enrol.logins(hub, vault))}  # type: ignore[arg-type]
        )
    except HubError as error:
        return Status(**{**known, "error": str(error), "hint": error.hint})  # type: ignore[arg-type]
