"""`aihub ssh GUEST [-- CMD]`: a shell on a guest or on the node, over the one way in.

A guest that hub.yml no longer names is reached by its VMID, or by its name, as long as it carries this hub's marker.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from aihub import report, ssh
from aihub.proxmox.state import ActualGuest, ActualGuests
from aihub.reading import load
from aihub.state.directory import State

from ..errors import Conflict, InvalidInput, PreconditionFailed
from ..model.resolved import Hub
from ..options import Options
from ..owners import undeclared as gone
from ..owners.run import find_target, opened, perform


def run(options: Options) -> int:
    """Becomes ssh: its exit code is the command's own."""
    hub = load.load(options.hub, target=options.target)
    state = State.of(hub.name, options.target, options.lab_name(hub.name))
    name, *command = options.only
    if not state.ssh_config.exists():
        if name not in (ssh.NODE, *hub.guests):
            raise _nobody(hub, name)
        raise PreconditionFailed("this hub was never brought up from here", where=str(state.directory), hint="aihub up")
    by_number = {str(guest.vmid): guest.name for guest in hub.guests.values()}
    if name in (ssh.NODE, *hub.guests):
        _become(ssh.argv(state, name), command)
    with opened(options, "ssh", report, reads=True) as found:
        perform(found, (find_target,))
        actual = found.proxmox().read(found.hub)
    guest = undeclared(hub, actual, name)
    if guest is None and name in by_number:
        _become(ssh.argv(state, by_number[name]), command)
    if guest is None:
        raise _nobody(hub, name)
    _become(gone.argv(state, guest), command)


def undeclared(hub: Hub, actual: ActualGuests, name: str) -> ActualGuest | None:
    """The guest of ours with this VMID or name that hub.yml does not have; None when there is no such guest at all.

    Raises Conflict when the only one is somebody else's, and InvalidInput when there are several of ours.
    """
    declared = {guest.vmid for guest in hub.guests.values()}
    found = [one for one in actual.guests.values() if name in (str(one.vmid), one.name, gone.pinned_as(one))]
    ours = [one for one in found if one.belongs_to(hub.id)]
    others = [one for one in ours if one.vmid not in declared]
    if len(others) > 1:
        numbers = ", ".join(str(one.vmid) for one in others)
        raise InvalidInput(f"{len(others)} guests of this hub are called {name}", hint=f"by its VMID: {numbers}")
    if found and not ours:
        numbers = ", ".join(f"{one.vmid} ({one.name})" for one in found)
        raise Conflict(
            f"guest {numbers} is not this hub's: no description that its token may read has its marker",
            where=name,
            hint="log in as you do without aihub: no key of the hub is on it",
        )
    return others[0] if others else None


def _nobody(hub: Hub, name: str) -> InvalidInput:
    known = ", ".join([ssh.NODE, *hub.guests])
    return InvalidInput(f"there is no guest {name}", hint=f"one of: {known}, or one of this hub's that is undeclared")


def _become(argv: list[str], command: list[str]) -> NoReturn:
    sys.stdout.flush()
    os.execvp(argv[0], [*argv, *(["--", *command] if command else [])])  # noqa: S606
