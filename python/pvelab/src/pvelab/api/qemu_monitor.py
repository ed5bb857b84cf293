"""What the monitor of a running virtual machine reports."""

from __future__ import annotations

import re
from typing import Any

from . import machine_state
from .formats import DRIVES
from .guestconf import GuestConf
from .pve import Pve
from .qemu_config import parse_drive

VERSION = "10.1.2"
OPERATIONS = ("rd", "wr", "zone_append", "flush", "unmap")
SUPPORT = (
    "backup-fleecing", "backup-max-workers", "pbs-dirty-bitmap", "pbs-dirty-bitmap-migration",
    "pbs-dirty-bitmap-savevm", "pbs-masterkey", "query-bitmap-info",
)  # fmt: skip


def running(pve: Pve, conf: GuestConf, seen: dict[str, Any]) -> dict[str, Any]:
    """The figures of a running machine: nothing is counted, so all counters are zero."""
    values = conf.values
    drives = [key for key in values if DRIVES.fullmatch(key) and parse_drive(key, values[key])]
    found: dict[str, Any] = {
        "qmpstatus": "paused" if conf.vmid in machine_state.paused(pve) else "running", "diskread": 0, "diskwrite": 0,
        "blockstat": {key: _block_statistics() for key in drives}, "running-machine": machine_state.machine(values),
        "running-qemu": VERSION, "proxmox-support": {**dict.fromkeys(SUPPORT, True), "pbs-library-version": "2.0.1"},
    }  # fmt: skip
    cards = [key for key in values if re.fullmatch(r"net\d+", key)]
    if cards:
        found["nics"] = {f"tap{conf.vmid}i{key[3:]}": {"netin": 0, "netout": 0} for key in cards}
    if values.get("balloon") != "0":
        most = seen["maxmem"]
        found["balloon"] = most
        found["ballooninfo"] = {"actual": most, "max_mem": most, "last_update": 0}
    return found


def _block_statistics() -> dict[str, Any]:
    found: dict[str, Any] = {"account_failed": True, "account_invalid": True, "timed_stats": [], "wr_highest_offset": 0}
    for name in OPERATIONS:
        found |= {f"{name}_operations": 0, f"{name}_total_time_ns": 0}
        found |= {f"failed_{name}_operations": 0, f"invalid_{name}_operations": 0}
        if name != "flush":
            found |= {f"{name}_bytes": 0, f"{name}_merged": 0}
    return found
