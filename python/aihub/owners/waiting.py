"""Instances that are not started now, and why: a secret that a person gives is not there yet."""

from __future__ import annotations

from aihub.errors import HubError
from aihub.secrets import given

from .run import Run


def waiting(run: Run) -> dict[str, str]:
    """The names of instances that wait, each with the reason; nothing while the store can't be asked.

    Whoever looks at the store itself says why it can't.
    """
    asked = [ref for ref in run.hub.secrets if ref.given]
    if not asked or run.hub.vault is None:
        return {}
    if not run.state.vault_login.exists():
        return given.waits(run.hub, asked)  # the store is still to be made
    if run.guests.guests and run.hub.vault.guest.name not in run.running():
        return {}  # where Proxmox was looked at, its guest is known not to run
    try:
        return given.waits(run.hub, given.missing(run.hub, run.vault()))
    except HubError:
        return {}
