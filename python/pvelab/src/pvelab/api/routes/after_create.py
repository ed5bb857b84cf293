"""What follows a creation or restore: high availability and a first start."""

from __future__ import annotations

from .. import ha
from ..errors import ApiError
from ..registry import Call
from ..tasks import Log
from . import lxc_status, qemu_status


def after_create(call: Call, kind: str, vmid: int, log: Log, restored: bool = False) -> None:
    """Start and high availability, as asked for: a start that fails does not fail the creation."""
    state = "started" if call.flag("start") else "stopped"
    early = kind == "qemu" and not restored
    if early:
        _manage(call, kind, vmid, state, log, "Add as HA resource")
    if call.flag("start"):
        _autostart(call, kind, vmid, log)
    if not early:
        line = "Add as HA resource" if kind == "lxc" else f"Add HA resource with request-state '{state}'"
        _manage(call, kind, vmid, state, log, line)


def _autostart(call: Call, kind: str, vmid: int, log: Log) -> None:
    try:
        if kind == "lxc":
            lxc_status.start(call.to_guest(kind, vmid))
        else:
            log("Execute autostart")
            call.pve.tasks.all[qemu_status.start(call.to_guest(kind, vmid))].done.wait(600)
    except ApiError as error:
        log(str(error))


def _manage(call: Call, kind: str, vmid: int, state: str, log: Log, line: str) -> None:
    if call.flag("ha-managed"):
        log(line)
        ha.manage(call.pve, call.pve.conf(vmid, kind), state)
