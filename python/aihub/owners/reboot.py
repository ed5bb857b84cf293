"""The node boots anew within a run: who stops with it is said before, and the run goes on when all is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from aihub import ssh
from aihub.errors import HubError, InvalidInput, PreconditionFailed, TaskFailed
from aihub.proxmox.properties import parse
from aihub.proxmox.root import Root
from aihub.proxmox.state import ActualGuest
from aihub.screen import Progress

from . import guests
from .run import Run

BOOT_TIME = 900.0  # seconds: firmware that checks much memory takes minutes
GUEST_TIME = 600.0  # until our guests, which start at boot, run again
_PAUSE = 2.0
_SINCE = "systemctl show --timestamp=unix -p UserspaceTimestamp --value"
_MACHINE, _BOOT = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")
_BOARD = Path("/sys/class/dmi/id/product_uuid")


def allowed(run: Run) -> bool:
    """Whether a person said that the node may boot."""
    return node_name(run) in run.options.allow_reboot


def require_known(run: Run) -> None:
    """Raises InvalidInput for a node that the hub does not have: nothing would come of it."""
    if strange := sorted(run.options.allow_reboot - run.hub.nodes.keys()):
        raise InvalidInput(f"there is no node {', '.join(strange)}", hint=f"one of: {', '.join(run.hub.nodes)}")


def node_name(run: Run) -> str:
    """What the hub's node is called."""
    return next(iter(run.hub.nodes))


def warning(run: Run) -> tuple[str, ...]:
    """Who stops with the node, in a sentence; empty where it need not boot, or may not."""
    if not run.reboot or not allowed(run):
        return ()
    others = ", ".join(f"{guest.name} (VMID {guest.vmid})" for guest in _foreign(run)) or "none"
    text = f"node {node_name(run)} is rebooted: the hub's guests there stop and start again"
    return (f"{text}; others that run there and stop: {others}",)


def require_possible(run: Run) -> None:
    """Raises PreconditionFailed where this very machine would go down with the node."""
    if why := _own_machine(run):
        raise PreconditionFailed(
            f"node {node_name(run)} can't be rebooted by this run: {why}",
            hint=f"as root on {node_name(run)}: systemctl reboot; then run the same command again",
        )


def perform(run: Run, progress: Progress) -> None:
    """The node was rebooted, answers, and has the guests running again that ran before.

    Raises TaskFailed when it does not come back in time.
    """
    require_possible(run)
    name, before, running = node_name(run), _booted(run), run.running()
    progress(name, "reboots")
    run.changed = True
    if run.lease is None:
        _boot(run, before)
    else:
        with run.lease.away():
            _boot(run, before)
    progress(name, "answers again")
    run.opened_vault = None  # its connection ended with the node
    _await(lambda: _run_again(run, running), GUEST_TIME, f"not all of {', '.join(running)} run again")
    progress.done(name, "rebooted")


def _boot(run: Run, before: str) -> None:
    with suppress(HubError):  # the connection may end before the command does
        ssh.run(run.state, ssh.NODE, "systemctl reboot", check=False, timeout=60)
    ssh.close(run.state, ssh.NODE)
    _await(lambda: _back(run, before), BOOT_TIME, f"node {node_name(run)} does not answer after its reboot")


def _back(run: Run, before: str) -> bool:
    return _booted(run) != before and ssh.run(
        run.state, ssh.NODE, "pvesh get /version --output-format json >/dev/null", check=False
    ).returncode == 0  # fmt: skip


def _booted(run: Run) -> str:
    return ssh.run(run.state, ssh.NODE, _SINCE, timeout=20).stdout.decode().strip()


def _run_again(run: Run, names: Iterable[str]) -> bool:
    run.guests = guests.read(run)
    return set(names) <= set(run.running())


def _await(done: Callable[[], bool], patience: float, what: str) -> None:
    limit = time.monotonic() + patience
    while True:
        with suppress(HubError):
            if done():
                return
        if time.monotonic() > limit:
            raise TaskFailed(what, where=ssh.NODE, hint="look at its console; then run the same command again")
        time.sleep(_PAUSE)


def _foreign(run: Run) -> Iterator[ActualGuest]:
    for guest in run.guests.guests.values():
        if guest.node == node_name(run) and guest.alive and not guest.belongs_to(run.hub.id):
            yield guest


def _own_machine(run: Run) -> str:
    """Why this machine is the node, or one of its guests; empty where it is neither."""
    machine, boot = ssh.run(run.state, ssh.NODE, f"cat {_MACHINE} {_BOOT}").stdout.decode().split()
    if machine == _read(_MACHINE):
        return "it is this very machine"
    if run.hub.target.vm_owns_kernel and boot == _read(_BOOT):  # a lab's node shares the kernel, and does not take it
        return "this machine is a container of it"
    if run.hub.target.vm_owns_kernel and (board := _read(_BOARD).lower()):
        root = Root(run.state)
        for guest in run.guests.guests.values():
            if guest.kind == "vm" and guest.node == node_name(run) and guest.alive:
                smbios = str(root.get(f"{guest.path}/config").get("smbios1", ""))
                if parse("smbios1", smbios).get("uuid", "").lower() == board:
                    return f"this machine is its guest {guest.name} (VMID {guest.vmid})"
    return ""


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
