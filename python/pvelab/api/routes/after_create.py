"""What follows a creation or restore: high availability and a first start."""

from __future__ import annotations

import time

from ..errors import ApiError
from ..registry import Call
from ..tasks import Log


def after_create(call: Call, kind: str, vmid: int, log: Log, restored: bool = False) -> None:
    """Start and high availability, as asked for: a start that fails does not fail the creation."""
    if kind == "qemu" and not restored:
        _manage(call, kind, vmid, log, "Add as HA resource")
    if call.flag("start"):
        _autostart(call, kind, vmid, log)
    if kind == "lxc":
        _manage(call, kind, vmid, log, "Add as HA resource")
    elif restored:
        state = "started" if call.flag("start") else "stopped"
        _manage(call, kind, vmid, log, f"Add HA resource with request-state '{state}'")


def _autostart(call: Call, kind: str, vmid: int, log: Log) -> None:
    from . import lxc_status, qemu_status

    follow_up = Call(call.pve, call.user, {"vmid": str(vmid), "node": call.pve.node.name})
    try:
        if kind == "lxc":
            lxc_status.start(follow_up)
        else:
            log("Execute autostart")
            upid = qemu_status.start(follow_up)
            task = call.pve.tasks.all[upid]
            while not task.done.wait(0.05) and time.time() - task.starttime < 600:
                pass
    except ApiError as error:
        log(f"{error.text}")


def _manage(call: Call, kind: str, vmid: int, log: Log, line: str) -> None:
    if not call.flag("ha-managed"):
        return
    log(line)
    sid = f"{'ct' if kind == 'lxc' else 'vm'}:{vmid}"
    with call.pve.cluster.lock:
        call.pve.table("ha_resources")[sid] = {"state": "started" if call.flag("start") else "stopped"}
        call.pve.cluster.save()
