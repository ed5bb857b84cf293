"""What holds where a hub is built. Chosen once, when hub.yml is read: whoever needs to know asks `hub.target`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Literal

from aihub.names import NODE_KEYS

from .catalogue import CATALOGUE, ImageName

Word = Literal["lab", "pve"]
DEFAULT: Word = "lab"
"""Where a hub is built when nobody says."""


@dataclass(frozen=True)
class Target:
    """The facts of a place, each named for what follows from it."""

    word: Word
    needs_people: bool
    """Somebody must be able to log in, agree to plans, and keep the recovery kit; a rehearsal does without."""
    has_neighbours: bool
    """There may be things that are not ours: a hub needs an id that no other has."""
    vm_owns_kernel: bool
    """A VM is one; else a container stands in for it, on the kernel of the operator's machine."""
    sized_by_hub_file: bool
    """The node is as large as hub.yml says, so that what does not fit is known beforehand."""
    makes_images: bool
    """OS images and the stacks' are made there; stacks whose image can't be are left out, and say why."""
    system: ImageName | None
    """What all guests are really made from, whatever hub.yml says; None where each has its own."""
    pools: str
    """What stands in for ZFS pools that hub.yml makes; empty where they are real."""
    has_stand_ins: bool
    """Some of it stands in for the real thing, and the results of checks say so."""
    own_networks: tuple[IPv4Network, ...]
    """What it uses for itself, so that no zone can."""
    node_keys: tuple[str, ...]
    """The files on the node in which the controller's key may stand."""

    @property
    def option(self) -> str:
        """What a command needs to mean it, with a blank before; nothing for the default."""
        return "" if self.word == DEFAULT else f" --target {self.word}"

    def system_of(self, image: ImageName) -> str:
        """The operating system that stands in for an image; empty where it is the real one."""
        return CATALOGUE[self.system].title if self.system and self.system != image else ""


LAB = Target(
    word="lab",
    needs_people=False,
    has_neighbours=False,
    vm_owns_kernel=False,
    sized_by_hub_file=True,
    makes_images=True,
    system="debian-13",
    pools="lab: a figure of the API, no disk is touched",
    has_stand_ins=True,
    own_networks=(IPv4Network("10.255.255.0/24"),),
    # Its node got its first key as a file of its own; on a real one that is part of the cluster file system.
    node_keys=(NODE_KEYS, "/root/.ssh/authorized_keys"),
)
PVE = Target(
    word="pve",
    needs_people=True,
    has_neighbours=True,
    vm_owns_kernel=True,
    sized_by_hub_file=False,
    makes_images=False,
    system=None,
    pools="",
    has_stand_ins=False,
    own_networks=(),
    node_keys=(NODE_KEYS,),
)
TARGETS = {target.word: target for target in (LAB, PVE)}
