"""Snapshots of containers and virtual machines."""

from __future__ import annotations

import time
import uuid
from typing import Any

from ...backend import BackendError
from .. import common, machine_state, volume_features
from ..errors import failure, refuse_if
from ..guestconf import GuestConf, Values
from ..lxc_update import add_unused
from ..pve import Pve
from ..qemu_checks import check_exists
from ..registry import Call, route
from ..tasks import Log
from . import lxc_status, qemu_status
from .qemu_status import start_machine

BASE = "/nodes/{node}/%s/{vmid}/snapshot"
PREFIX = {"lxc": "vz", "qemu": "qm"}
NOT_COPIED = {"lock", "snaptime", "snapstate", "vmstate", "description"}


def listing(call: Call, kind: str) -> list[dict[str, Any]]:
    """All snapshots, then the current state."""
    conf = call.pve.conf(call.vmid, kind)
    found = []
    for name, values in sorted(conf.snapshots.items()):
        item: dict[str, Any] = {"name": name, "snaptime": int(values.get("snaptime", 0))}
        item["description"] = values.get("description", "")
        if kind == "qemu":
            item["vmstate"] = 1 if values.get("vmstate") else 0
        for key in ("parent", "snapstate"):
            if values.get(key):
                item[key] = values[key]
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
    reserved = {"current", "vzdump"} if kind == "lxc" else {"current", "pending"}
    asked = "pending" if name.lower() == "pending" else name
    refuse_if(asked in reserved, f"unable to use snapshot name '{asked}' (reserved name)")
    if kind == "qemu":
        machine_state.check_savable(pve.conf(vmid, kind), call.flag("vmstate"))

    def work(log: Log) -> None:
        with pve.lock(vmid, kind, log, "lock" in call.faults):
            conf = pve.conf(vmid, kind).copy()
            _check_takable(pve, conf, name)
            for other in conf.snapshots.values():
                if other.get("parent") == name:
                    del other["parent"]
            kept = {k: v for k, v in conf.values.items() if k not in NOT_COPIED and not k.startswith("unused")}
            if kind == "qemu":
                if call.flag("vmstate") and pve.running(vmid):
                    kept |= machine_state.save(call, conf, f"state-{name}")
                for key, _, volid in volume_features.each(kind, conf.values):
                    log(f"snapshotting 'drive-{key}' ({volid})")
            pve.backend.snapshot(pve.spec(conf), name, log)
            kept["snaptime"] = str(int(time.time()))
            if call.get("description"):
                kept["description"] = str(call["description"])
            conf.snapshots[name] = kept
            conf.values["parent"] = name
            pve.guests.save(conf)

    return call.start(f"{PREFIX[kind]}snapshot", vmid, work)


def _check_takable(pve: Pve, conf: GuestConf, name: str) -> None:
    refuse_if(common.is_template(conf), "you can't take a snapshot if it's a template")
    common.check_lock(conf)
    refuse_if(name in conf.snapshots, f"snapshot name '{name}' already used")
    if not volume_features.all_have(pve, "snapshot", conf.kind, conf.values):
        raise failure("snapshot feature is not available")


def delete(call: Call, kind: str) -> str:
    """Removes a snapshot in a task."""
    name, vmid, pve = str(call["snapname"]), call.vmid, call.pve

    def work(log: Log) -> None:
        with pve.lock(vmid, kind, log, "lock" in call.faults):
            conf = pve.conf(vmid, kind).copy()
            refuse_if(name not in conf.snapshots, f"snapshot '{name}' does not exist")
            common.check_lock(conf)
            refuse_if(common.is_template(conf), "you can't delete a snapshot if vm is a template")
            try:
                pve.backend.delete_snapshot(pve.spec(conf), name, log)
            except BackendError as error:
                if not call.flag("force"):
                    raise failure(str(error)) from error
                log(str(error))
            _forget(call, conf, name)
            pve.guests.save(conf)

    return call.start(f"{PREFIX[kind]}delsnapshot", vmid, work)


def _forget(call: Call, conf: GuestConf, name: str) -> None:
    """Takes a snapshot out of a configuration: its children get its parent, volumes only it had become unused."""
    gone = conf.snapshots.pop(name)
    for values in (conf.values, *conf.snapshots.values()):
        if values.get("parent") == name:
            values.pop("parent")
            if gone.get("parent"):
                values["parent"] = gone["parent"]
    if gone.get("vmstate"):
        volume_features.free(call.pve, gone["vmstate"])
    for _, _, volid in volume_features.each(conf.kind, gone):
        add_unused(conf, volid)


def rollback(call: Call, kind: str) -> str:
    """Puts a guest back to a snapshot in a task."""
    name, vmid, pve = str(call["snapname"]), call.vmid, call.pve
    if kind == "qemu" and call.flag("start"):
        call.check(f"/vms/{vmid}", "VM.PowerMgmt")

    def work(log: Log) -> None:
        with pve.lock(vmid, kind, log, "lock" in call.faults):
            conf = pve.conf(vmid, kind).copy()
            refuse_if(common.is_template(conf), "you can't rollback if vm is a template")
            refuse_if(name not in conf.snapshots, f"snapshot '{name}' does not exist")
            common.check_lock(conf)
            pve.runtime.forget()
            if pve.running(vmid):
                pve.backend.stop(pve.spec(conf), log)
                pve.runtime.forget()
            pve.backend.rollback(pve.spec(conf), name, log)
            resumed = bool(conf.snapshots[name].get("vmstate"))
            _put_back(conf, name)
            conf = pve.guests.save(conf)
            if resumed:
                start_machine(call, conf, log)
        if call.flag("start") and not pve.running(vmid):
            follow_up = Call(pve, call.user, {"vmid": str(vmid), "node": pve.node.name})
            (lxc_status if kind == "lxc" else qemu_status).start(follow_up)

    return call.start(f"{PREFIX[kind]}rollback", vmid, work)


def _put_back(conf: GuestConf, name: str) -> None:
    saved = conf.snapshots[name]
    kept: Values = {k: v for k, v in conf.values.items() if k.startswith("unused") or k == "description"}
    now = {volid for _, _, volid in volume_features.each(conf.kind, conf.values)}
    then = {volid for _, _, volid in volume_features.each(conf.kind, saved)}
    running = ("runningmachine", "runningcpu", "running-nets-host-mtu")
    fresh = {k: v for k, v in saved.items() if k not in NOT_COPIED and k not in running}
    conf.values = {**kept, **fresh, "parent": name}
    conf.pending, conf.deleted = {}, {}
    for volid in sorted(now - then):
        if not volid.startswith("/"):
            add_unused(conf, volid)
    if conf.values.get("vmgenid"):
        conf.values["vmgenid"] = str(uuid.uuid4())


def config(call: Call, kind: str) -> dict[str, Any]:
    """The configuration that a snapshot keeps."""
    values = call.pve.conf(call.vmid, kind).snapshots.get(call["snapname"])
    if values is None:
        raise failure(f"snapshot '{call['snapname']}' does not exist")
    return common.typed_all(kind, values)


def describe(call: Call, kind: str) -> None:
    """Changes a snapshot's description."""
    if not call.has("description"):
        return
    with call.pve.lock(call.vmid, kind):
        conf = call.pve.conf(call.vmid, kind).copy()
        common.check_lock(conf)
        refuse_if(call["snapname"] not in conf.snapshots, f"snapshot '{call['snapname']}' does not exist")
        conf.snapshots[call["snapname"]]["description"] = str(call["description"])
        call.pve.guests.save(conf)


def feature(call: Call, kind: str) -> dict[str, Any]:
    """Whether a guest can be snapshotted, cloned or copied now."""
    if kind == "qemu":
        check_exists(call.pve, call.vmid)
    conf, name = call.pve.conf(call.vmid, kind), call.get("snapname")
    refuse_if(name and name not in conf.snapshots, f"snapshot '{name}' does not exist")
    values = conf.snapshots[name] if name else conf.values
    has = volume_features.all_have(call.pve, str(call["feature"]), kind, values, name)
    return {"hasFeature": int(has), **({"nodes": [call.pve.node.name]} if kind == "qemu" else {})}


def _register(kind: str) -> None:
    base = BASE % kind
    one = base + "/{snapname}"
    route("GET", base)(lambda call: listing(call, kind))
    route("POST", base)(lambda call: create(call, kind))
    route("DELETE", one)(lambda call: delete(call, kind))
    route("POST", one + "/rollback")(lambda call: rollback(call, kind))
    route("GET", one + "/config")(lambda call: config(call, kind))
    route("PUT", one + "/config")(lambda call: describe(call, kind))
    route("GET", base.replace("/snapshot", "/feature"))(lambda call: feature(call, kind))


for _kind in ("lxc", "qemu"):
    _register(_kind)
