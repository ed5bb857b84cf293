"""A real Proxmox VE node as a target."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack

from aihub import ssh
from aihub.errors import PreconditionFailed
from aihub.model.catalogue import CATALOGUE, USUAL
from aihub.model.resolved import Guest, Hub, Instance
from aihub.plan import Plan
from aihub.screen import Screen
from aihub.state.directory import State

from . import Images

API_PORT = 8006


class Pve:
    """The node on the LAN, met once with `aihub trust`."""

    names: Mapping[str, str] = {}
    outside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    title = "this node"

    def is_of(self, hub: str) -> bool:
        """Several may be on a node: only an id tells."""
        return False

    def package_hosts(self, hub: Hub) -> tuple[str, ...]:
        """Those of every image that guests are made from, and of the one that they were before there was a choice."""
        images = dict.fromkeys((USUAL, *(guest.image for guest in hub.guests.values())))
        return tuple(CATALOGUE[image].package_hosts for image in images)

    def built(self, hub: Hub) -> Mapping[str, str]:
        """Images are what their names say."""
        return {}

    def require_place(self, hub: Hub) -> None:
        """A node is where it is: hub.yml says only how to get there."""

    def make(self, hub: Hub, state: State, screen: Screen) -> None:
        """We have the node's pins, and it has our key. Raises PreconditionFailed before `aihub trust`."""
        self.find(hub, state)

    def find(self, hub: Hub, state: State) -> None:
        """As `make`."""
        if not state.certificate.exists():
            raise PreconditionFailed("this node was never met from here", hint="aihub trust")
        ssh.write(hub, state, ssh.Pve())

    def api(self, hub: Hub) -> tuple[str, int]:
        """Where the node's own API answers."""
        return ssh.node_address(hub), API_PORT

    def require(self, hub: Hub) -> None:
        """Whatever hub.yml can say can be had on a node."""

    def prepare(self, hub: Hub, agreed: Plan, screen: Screen, stack: ExitStack, *, stock: bool) -> Images:
        """Guests pull their images themselves."""
        return _Pulled()

    def stand_in(self, guest: Guest) -> str:
        """Guests are what they are called."""
        return ""

    def labels(self, hub: Hub) -> Mapping[str, str]:
        """Nothing stands in for anything."""
        return {}


class _Pulled:
    """OS images lie on the node's storage, which preflight has looked at; stacks pull theirs."""

    def await_systems(self) -> None: ...

    def await_stacks(self, instances: Collection[Instance]) -> None: ...

    def await_models(self, instances: Collection[Instance]) -> None: ...
