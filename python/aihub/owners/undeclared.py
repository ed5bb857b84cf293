"""Guests of ours that hub.yml no longer has: as Proxmox knows them, and how ssh gets there."""

from __future__ import annotations

from aihub import ssh
from aihub.errors import PreconditionFailed
from aihub.proxmox.properties import addresses
from aihub.proxmox.state import ActualGuest
from aihub.state.directory import State


def argv(state: State, guest: ActualGuest) -> list[str]:
    """The start of an ssh command line to it. Raises PreconditionFailed where there is no way, with what to do."""
    where = address(guest)
    if ssh.pinned(state, pin := pinned_as(guest)) is None:
        hint = f"as root on {guest.node}: {'pct enter' if guest.kind == 'lxc' else 'qm terminal'} {guest.vmid}"
        raise PreconditionFailed(f"no host key of {pin} is pinned here", where=guest.name, hint=hint)
    return ssh.argv_of_undeclared(state, guest.name, where, pin)


def address(guest: ActualGuest) -> str:
    """Where Proxmox's own config says that a guest is. Raises PreconditionFailed for one that is nowhere."""
    if not guest.running:
        order = "pct start" if guest.kind == "lxc" else "qm start"
        hint = f"as root on {guest.node}: {order} {guest.vmid}"
        raise PreconditionFailed(f"the guest is {guest.status}", where=guest.name, hint=hint)
    found = sorted(addresses(guest.in_force))
    if len(found) != 1:
        text = f"its config names {len(found)} addresses{': ' if found else ''}{', '.join(found)}"
        raise PreconditionFailed(text, where=guest.name, hint=f"as root on {guest.node}, over its console")
    return found[0]


def pinned_as(guest: ActualGuest) -> str:
    """The id of a guest, under which its host key is kept."""
    return guest.marker.guest if guest.marker else ""
