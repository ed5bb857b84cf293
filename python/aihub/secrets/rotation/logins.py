"""Replaces what aihub and the guests' agents get in with: secret-ids, the API token, the ssh key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aihub.secrets import enrol
from aihub.vault import bringup
from aihub.vault.client import operator

from . import sshkey, token
from .systems import Systems


@dataclass
class Rotation:
    """One login under way (systems.Replacement). Each of them makes the new one work before the old one ends."""

    replace: Callable[[], object]

    def publish(self) -> dict[str, int]:
        """Nothing is to be known beforehand."""
        return {}

    def finish(self) -> None:
        """The new one is in use, the old one ended."""
        self.replace()


def of_guest(systems: Systems, guest: str) -> Rotation:
    """The secret-id of a guest's agent."""
    return Rotation(lambda: enrol.enrol(systems.hub, systems.state, systems.vault, guest))


def of_controller(systems: Systems) -> Rotation:
    """Our own secret-id at the vault."""

    def change() -> None:
        bringup.new_operator(systems.state, systems.vault)
        systems.vault.login(*operator(systems.state))

    return Rotation(change)


def of_token(systems: Systems) -> Rotation:
    """The token of the Proxmox API."""
    return Rotation(lambda: token.rotate(systems.hub, systems.state))


def of_key(systems: Systems) -> Rotation:
    """The controller's ssh key."""
    return Rotation(lambda: sshkey.rotate(systems.hub, systems.state))
