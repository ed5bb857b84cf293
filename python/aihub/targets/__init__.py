"""Where a hub is built: the lab or a real Proxmox VE node, two objects with one interface."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

from aihub import options, render
from aihub.model.resolved import Guest, Hub, Instance
from aihub.model.target import LAB
from aihub.plan import Plan
from aihub.screen import Screen
from aihub.state.directory import State


class Images(Protocol):
    """What guests are made from and what runs on them, where the target makes it itself."""

    def await_systems(self) -> None:
        """Returns when the OS images are there. Raises what their making raised."""

    def await_stacks(self, instances: Collection[Instance]) -> None:
        """Returns when the images of these instances can be pulled. Raises what their making raised."""

    def await_models(self, instances: Collection[Instance]) -> None:
        """Returns when the models that these instances serve can be pulled. Raises what their making raised."""


class Place(Protocol):
    """What a target does; what holds there says `hub.target`."""

    @property
    def title(self) -> str:
        """What a person calls it."""

    def is_of(self, hub: str) -> bool:
        """Whether the hub of that name is here now, as far as that can be known by the place alone."""

    @property
    def names(self) -> Mapping[str, str]:
        """Outside names that the node answers itself, with their address."""

    def package_hosts(self, hub: Hub) -> tuple[str, ...]:
        """The hosts that its OS images take packages from: the way out lets guests of closed zones reach them."""

    @property
    def outside(self) -> tuple[str, ...]:
        """Addresses that zones with internet reach although they are not public."""

    def built(self, hub: Hub) -> Mapping[str, str]:
        """Of images that it builds itself, what each is built from, hashed: the same name may become another image."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person must know of what is not real here."""

    def require_place(self, hub: Hub) -> None:
        """Raises PreconditionFailed where the place itself is otherwise than hub.yml says, and nobody changes that."""

    def make(self, hub: Hub, state: State, screen: Screen) -> None:
        """The node can be reached; a lab is brought up. Raises PreconditionFailed when it never was met."""

    def find(self, hub: Hub, state: State) -> None:
        """As `make`, for what is there already. Raises PreconditionFailed when there is nothing."""

    def api(self, hub: Hub) -> tuple[str, int]:
        """Host and port of the Proxmox API."""

    def require(self, hub: Hub) -> None:
        """Raises PreconditionFailed for what a hub wants and this target can't have."""

    def prepare(self, hub: Hub, agreed: Plan, screen: Screen, stack: ExitStack, *, stock: bool) -> Images:
        """Begins to make the images that an agreed plan needs, beside the steps that come next."""

    def stand_in(self, guest: Guest) -> str:
        """What stands in for a guest; empty for a real one."""

    def labels(self, hub: Hub) -> Mapping[str, str]:
        """What stands in for language models and programs: their names in hub.yml -> what really answers."""


def known(hub: Hub, place: Place) -> Hub:
    """A hub with what follows from where it is built; drivers of real cards have packages of their own."""
    real_cards = not hub.target.has_stand_ins and any(guest.gpu for guest in hub.guests.values())
    hosts = (*place.package_hosts(hub), *(render.hosts("nvidia") if real_cards else ()))
    return replace(hub, package_hosts=hosts, outside=place.outside, built=place.built(hub))


def chosen(wanted: options.Options, hub: Hub) -> Place:
    """The place that the hub was read for."""
    from .lab import Lab
    from .pve import Pve

    return Lab(wanted.lab_name(hub.name)) if hub.target == LAB else Pve()
