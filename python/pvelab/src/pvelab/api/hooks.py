"""Hook scripts of machines, as Proxmox VE calls them: by VMID and phase, and what they print is in the task's log."""

from __future__ import annotations

from . import lxc_config, volumes
from .errors import ApiError, failure
from .guestconf import GuestConf
from .registry import Call
from .tasks import Log

DECIDES = "pre-start"
"""The phase in which a script that fails keeps the machine from being started."""


def run(call: Call, conf: GuestConf, phase: str, log: Log) -> None:
    """Runs a machine's hook script for a phase; raises what PVE says where it fails and that counts."""
    volid = conf.values.get("hookscript")
    if not volid:
        return
    try:
        lxc_config.check_hookscript(call.pve, volid)
        script = volumes.seen_path(call.pve, volid)
        code = call.pve.backend.hook(script, conf.vmid, phase, log)
        said = f"command '{script} {conf.vmid} {phase}' failed: exit code {code}" if code else ""
    except ApiError as error:
        said = error.message
    if not said:
        return
    text = f"hookscript error for {conf.vmid} on {phase}: {said}"
    if phase == DECIDES:
        raise failure(text)
    log.warn(text)
