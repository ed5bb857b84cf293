"""Replaces what aihub and the guests' agents get in with: secret-ids, the API token, the ssh key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aihub.secrets import enrol
from aihub.vault import bringup
from aihub.vault.client import operator

from . import sshkey, token
from .reach import Reach


@dataclass
class Rotation:
    """One login under way (reach.Flight). Each of them makes the new one work before the old one ends."""

    replace: Callable[[], object]

    def publish(self) -> dict[str, int]:
        """Nothing is to be known beforehand."""
        return {}

    def finish(self) -> None:
        """The new one is in use, the old one ended."""
        self.replace()


def of_guest(reach: Reach, guest: str) -> Rotation:
    """The secret-id of a guest's agent."""
    return Rotation(lambda: enrol.enrol(reach.hub, reach.state, reach.vault, guest))


def of_controller(reach: Reach) -> Rotation:
    """Our own secret-id at the vault."""

    def change() -> None:
        bringup.new_operator(reach.state, reach.vault)
        reach.vault.login(*operator(reach.state))

    return Rotation(change)


def of_token(reach: Reach) -> Rotation:
    """The token of the Proxmox API."""
    return Rotation(lambda: token.rotate(reach.hub, reach.state))


def of_key(reach: Reach) -> Rotation:
    """The controller's ssh key."""
    return Rotation(lambda: sshkey.rotate(reach.hub, reach.state))
