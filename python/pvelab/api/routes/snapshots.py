"""Snapshots of containers and virtual machines."""

from __future__ import annotations

import time
from typing import Any

from ...backend import BackendError
from .. import common, lxc_config, qemu_config, volumes
from ..errors import TaskError, failure
from ..guestconf import GuestConf
from ..pve import Pve
from ..registry import Call, route
from ..tasks import Log
from ..words import truth
from .lxc_status import start_container
from .qemu_status import start_machine

BASE = "/nodes/{node}/%s/{vmid}/snapshot"
PREFIX = {"lxc": "vz", "qemu": "qm"}
RESERVED = {"lxc": ("current", "vzdump"), "qemu": ("current", "pending")}
NOT_COPIED = {"lock", "template", "parent", "snaptime", "snapstate", "vmstate"}


def can_snapshot(pve: Pve, conf: GuestConf) -> bool:
    """Whether every disk is on storage that can take snapshots."""
    for key, value in conf.values.items():
        if conf.kind == "lxc" and lxc_config.VOLUME.fullmatch(key):
            volid = str(lxc_config.parse_volume(key, value)["volume"])
        elif conf.kind == "qemu" and qemu_config.is_drive(key):
            fields = qemu_config.parse_drive(key, value) or {}
            if qemu_config.is_cdrom(fields):
                continue
            volid = str(fields["file"])
        else:
            continue
        if volid.startswith("/"):
            return False
        config = volumes.storage(pve, volumes.split(volid)[0])
        known = pve.volumes.data.get(volid, {})
        if config["type"] not in ("zfspool", "lvmthin", "btrfs") and known.get("format") != "qcow2":
            return False
    return True


def listing(call: Call, kind: str) -> list[dict[str, Any]]:
    """All snapshots, then the current state."""
    conf = call.pve.conf(call.vmid, kind)
    found = []
    for name, values in sorted(conf.snapshots.items()):
        item: dict[str, Any] = {"name": name, "snaptime": int(values.get("snaptime", 0))}
        item["description"] = values.get("description", "")
        if kind == "qemu":
            item["vmstate"] = 1 if values.get("vmstate") else 0
        if values.get("parent"):
            item["parent"] = values["parent"]
        found.append(item)
    current: dict[str, Any] = {
        "name": "current",
        "digest": conf.digest,
        "running": int(call.pve.running(call.vmid)),
        "description": "You are here!",
    }
    if conf.values.get("parent"):
        current["parent"] = conf.values["parent"]
    return [*found, current]


def create(call: Call, kind: str) -> str:
    """Takes a snapshot in a task."""
    name, vmid, pve = str(call["snapname"]), call.vmid, call.pve
    if name in RESERVED[kind]:
        raise failure(f"unable to use snapshot name '{name}' (reserved name)")

    def work(log: Log) -> None:
        with pve.lock(vmid, kind, log, "lock" in call.faults):
            conf = pve.conf(vmid, kind).copy()
            if common.is_template(conf):
                raise TaskError("you can't take a snapshot if it's a template")
            common.check_lock(conf)
            if name in conf.snapshots:
                raise TaskError(f"snapshot name '{name}' already used")
            if not can_snapshot(pve, conf):
                raise TaskError("snapshot feature is not available")
            pve.backend.snapshot(pve.spec(conf), name, log)
            kept = {k: v for k, v in conf.values.items() if k not in NOT_COPIED and not k.startswith("unused")}
            if conf.values.get("parent"):
                kept["parent"] = conf.values["parent"]
            kept["snaptime"] = str(int(time.time()))
            kept.pop("description", None)
            if call.get("description"):
                kept["description"] = str(call["description"])
            conf.snapshots[name] = kept
            conf.values["parent"] = name
            pve.guests.save(conf)

    return call.start(f"{PREFIX[kind]}snapshot", vmid, work)


def delete(call: Call, kind: str) -> str:
    """Forgets a snapshot in a task."""
    name, vmid, pve = str(call["snapname"]), call.vmid, call.pve

    def work(log: Log) -> None:
        with pve.lock(vmid, kind, log, "lock" in call.faults):
            conf = pve.conf(vmid, kind).copy()
            if name not in conf.snapshots:
                raise TaskError(f"snapshot '{name}' does not exist")
            common.check_lock(conf)
            try:
                pve.backend.delete_snapshot(pve.spec(conf), name, log)
            except BackendError as error:
                if not call.flag("force"):
                    raise TaskError(str(error)) from error
            gone = conf.snapshots.pop(name)
            for values in (conf.values, *conf.snapshots.values()):
                if values.get("parent") == name:
                    values.pop("parent")
                    if gone.get("parent"):
                        values["parent"] = gone["parent"]
            pve.guests.save(conf)

    return call.start(f"{PREFIX[kind]}delsnapshot", vmid, work)


def rollback(call: Call, kind: str) -> str:
    """Puts a guest back to a snapshot in a task."""
    name, vmid, pve = str(call["snapname"]), call.vmid, call.pve

    def work(log: Log) -> None:
        with pve.lock(vmid, kind, log, "lock" in call.faults):
            conf = pve.conf(vmid, kind).copy()
            if common.is_template(conf):
                raise TaskError("you can't rollback if vm is a template")
            if name not in conf.snapshots:
                raise TaskError(f"snapshot '{name}' does not exist")
            common.check_lock(conf)
            pve.runtime.forget()
            if pve.running(vmid):
                pve.backend.stop(pve.spec(conf), log)
                pve.runtime.forget()
            pve.backend.rollback(pve.spec(conf), name, log)
            saved = {k: v for k, v in conf.snapshots[name].items() if k not in ("snaptime", "parent", "description")}
            unused = {k: v for k, v in conf.values.items() if k.startswith("unused") or k == "description"}
            conf.values = {**saved, **unused, "parent": name}
            conf.pending, conf.deleted = {}, {}
            conf = pve.guests.save(conf)
            if call.flag("start"):
                (start_container if kind == "lxc" else start_machine)(call, conf, log)

    return call.start(f"{PREFIX[kind]}rollback", vmid, work)


def config(call: Call, kind: str) -> dict[str, Any]:
    """The configuration that a snapshot keeps."""
    values = call.pve.conf(call.vmid, kind).snapshots.get(call["snapname"])
    if values is None:
        raise failure(f"snapshot '{call['snapname']}' does not exist")
    return common.typed_all(kind, values)


def describe(call: Call, kind: str) -> None:
    """Changes a snapshot's description."""
    with call.pve.lock(call.vmid, kind):
        conf = call.pve.conf(call.vmid, kind).copy()
        common.check_lock(conf)
        if call["snapname"] not in conf.snapshots:
            raise failure(f"snapshot '{call['snapname']}' does not exist")
        if call.has("description"):
            conf.snapshots[call["snapname"]]["description"] = str(call["description"])
        call.pve.guests.save(conf)


def feature(call: Call, kind: str) -> dict[str, Any]:
    """Whether a guest can be snapshotted, cloned or copied now."""
    conf = call.pve.conf(call.vmid, kind)
    wanted = call["feature"]
    if wanted == "copy":
        has = call.has("snapname") or not call.pve.running(call.vmid) or kind == "qemu"
    elif wanted == "clone":
        has = truth(conf.values.get("template"))
    else:
        has = can_snapshot(call.pve, conf)
    return {"hasFeature": int(has), **({"nodes": [call.pve.node.name]} if kind == "qemu" else {})}


def _register(kind: str) -> None:
    base = BASE % kind
    one = base + "/{snapname}"
    route("GET", base)(lambda call: listing(call, kind))
    route("POST", base)(lambda call: create(call, kind))
    route("GET", one)(lambda call: [{"cmd": "rollback"}, {"cmd": "config"}])
    route("DELETE", one)(lambda call: delete(call, kind))
    route("POST", one + "/rollback")(lambda call: rollback(call, kind))
    route("GET", one + "/config")(lambda call: config(call, kind))
    route("PUT", one + "/config")(lambda call: describe(call, kind))
    route("GET", base.replace("/snapshot", "/feature"))(lambda call: feature(call, kind))


for _kind in ("lxc", "qemu"):
    _register(_kind)
