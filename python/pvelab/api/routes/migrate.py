"""Migration, as a node without a cluster answers: what stands against it, and that there is nowhere to go."""

from __future__ import annotations

import re
from typing import Any

from .. import common, ha, qemu_config, volumes
from ..errors import bad, failure
from ..formats import DRIVES
from ..guestconf import GuestConf, Values
from ..registry import Call, route
from ..schema import split_property_string
from ..words import truth

LXC, QEMU = "/nodes/{node}/lxc/{vmid}", "/nodes/{node}/qemu/{vmid}"
LOCAL = re.compile(r"(usb|hostpci|serial|parallel|virtiofs)\d+")


@route("GET", LXC + "/migrate")
def container_conditions(call: Call) -> dict[str, Any]:
    """Where a container could go."""
    conf = call.pve.conf(call.vmid, "lxc")
    common.check_lock(conf)
    found = {"running": int(call.pve.running(call.vmid)), "allowed-nodes": [], "not-allowed-nodes": {}}
    if ha.managed(call.pve, f"ct:{call.vmid}"):
        found["dependent-ha-resources"] = []
    return found


@route("GET", QEMU + "/migrate")
def machine_conditions(call: Call) -> dict[str, Any]:
    """Where a machine could go, and what of it is local to this node."""
    conf = call.pve.conf(call.vmid, "qemu")
    common.check_lock(conf)
    running = call.pve.running(call.vmid)
    resources, mapped = _local_resources(conf, running)
    found: dict[str, Any] = {
        "running": int(running),
        "allowed_nodes": [],
        "not_allowed_nodes": {},
        "local_disks": _local_disks(call, conf),
        "local_resources": resources,
        "mapped-resources": sorted(mapped),
        "mapped-resource-info": mapped,
        "has-dbus-vmstate": 1,
    }
    if ha.managed(call.pve, f"vm:{call.vmid}"):
        found["dependent-ha-resources"] = []
    return found


def _local_resources(conf: GuestConf, running: bool) -> tuple[list[str], dict[str, dict[str, Any]]]:
    local: list[str] = [key for key in ("amd-sev", "intel-tdx") if running and key in conf.values]
    if running and any(key.startswith("virtiofs") for key in conf.values):
        local.append("virtiofs")
    mapped: dict[str, dict[str, Any]] = {}
    for key, value in sorted(conf.values.items()):
        if key == "ivshmem":
            local.append(key)
        if not LOCAL.fullmatch(key) or value == "socket":
            continue
        kind = key.rstrip("0123456789")
        known = qemu_config.options()[key].get("format")
        fields = split_property_string(known, value) if isinstance(known, dict) else _fields(value)
        if kind == "usb" and str(fields.get("host", "")).lower() == "spice":
            continue
        name = fields.get("dirid") if kind == "virtiofs" else fields.get("mapping")
        if name:
            mapped[key] = {"name": name}
        if not (kind == "hostpci" and name and not running):
            local.append(key)
    return local, mapped


def _fields(text: str) -> dict[str, Any]:
    return dict(part.partition("=")[::2] for part in text.split(",") if "=" in part)


def _local_disks(call: Call, conf: GuestConf) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    _note_disks(found, conf.values, None, False)
    _note_disks(found, conf.pending, None, True)
    for name, values in sorted(conf.snapshots.items()):
        _note_disks(found, values, name, False)
    return [{**item, "volid": volid} for volid, item in found.items() if _is_local(call, volid, item)]


def _is_local(call: Call, volid: str, item: dict[str, Any]) -> bool:
    if ":" in volid and not volid.startswith("/"):
        config = volumes.storage(call.pve, volumes.split(volid)[0])
        if truth(config.get("shared")) or config["type"] in ("nfs", "cifs", "cephfs"):
            return False
    return not item["shared"] and not (item["cdrom"] and volid == "none")


def _note_disks(found: dict[str, dict[str, Any]], values: Values, snapshot: str | None, pending: bool) -> None:
    for key, text in sorted(values.items()):
        unused, state = key.startswith("unused"), key == "vmstate"
        if unused or state:
            fields: dict[str, Any] = {"file": text.partition(",")[0]}
        elif DRIVES.fullmatch(key):
            fields = qemu_config.parse_drive(key, text) or {}
        else:
            continue
        volid = str(fields.get("file", ""))
        if not volid:
            continue
        item = found.setdefault(volid, {"cdrom": 1, "is_cloudinit": 0, "replicate": 0, "shared": 0, "is_unused": 0})
        item |= {"is_attached": item.get("is_attached", 0), "is_vmstate": int(state or item.get("is_vmstate", 0))}
        item["is_tpmstate"] = int(key == "tpmstate0" or item.get("is_tpmstate", 0))
        item["cdrom"] = int(bool(item["cdrom"]) and qemu_config.is_cdrom(fields))
        item["is_cloudinit"] = int(bool(item["is_cloudinit"]) or qemu_config.is_cloudinit(fields))
        item["replicate"] = int(bool(item["replicate"]) or truth(fields.get("replicate", 1)))
        item["shared"] = int(bool(item["shared"]) or truth(fields.get("shared")))
        item["is_unused"] = int(bool(item["is_unused"]) or unused)
        if not unused and snapshot is None and not pending:
            item["is_attached"] = 1
        if snapshot is not None:
            item.setdefault("referenced_in_snapshot", {})[snapshot] = 1
        if pending:
            item["referenced_in_pending"] = 1
        if fields.get("size"):
            item.setdefault("size", fields["size"])
        if DRIVES.fullmatch(key):
            item["drivename"] = key


@route("POST", LXC + "/migrate")
@route("POST", QEMU + "/migrate")
def migrate(call: Call) -> str:
    """Refuses: a node without a cluster knows no other."""
    target = str(call["target"])
    if target == call.pve.node.name:
        raise bad(target="target is local node.")
    raise failure(f"no such cluster node '{target}'")


@route("POST", LXC + "/remote_migrate")
def remote_container(call: Call) -> str:
    """Refuses what PVE refuses; there is no other cluster to reach."""
    conf = call.pve.conf(call.vmid, "lxc")
    common.check_lock(conf)
    if call.pve.running(call.vmid) and not (call.flag("online") or call.flag("restart")):
        raise failure("can't migrate running container without --online or --restart")
    if ha.managed(call.pve, f"ct:{call.vmid}"):
        raise bad(vmid="cannot remote-migrate CT that is configured for HA")
    raise _unreachable(call)


@route("POST", QEMU + "/remote_migrate")
def remote_machine(call: Call) -> str:
    """Refuses what PVE refuses; there is no other cluster to reach."""
    conf = call.pve.conf(call.vmid, "qemu")
    common.check_lock(conf)
    if ha.managed(call.pve, f"vm:{call.vmid}"):
        raise bad(vmid="cannot remote-migrate VM that is configured for HA")
    raise _unreachable(call)


def _unreachable(call: Call) -> Exception:
    host = _fields(str(call["target-endpoint"])).get("host", "")
    port = _fields(str(call["target-endpoint"])).get("port", "8006")
    return failure(f"596 Can't connect to {host}:{port} (Connection refused)")


@route("POST", QEMU + "/dbus-vmstate")
def dbus_vmstate(call: Call) -> None:
    """Starts or stops the helper that a migration uses."""
    if not call.pve.running(call.vmid):
        name = call.pve.node.name
        raise bad(node=f"VM {call.vmid} not running locally on node '{name}'")
