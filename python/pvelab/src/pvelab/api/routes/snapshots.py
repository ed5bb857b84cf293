"""Snapshots of containers and virtual machines."""

from __future__ import annotations

import time
import uuid
from typing import Any

from ...backend import BackendError
from .. import common, guest_answers, machine_state, volume_features
from ..digests import digest
from ..errors import existing, failure, refuse_if
from ..guestconf import GuestConf, Values
from ..lxc_update import add_unused
from ..pve import Pve
from ..qemu_checks import check_exists
from ..registry import Call, route
from ..tasks import Log
from . import lxc_status, qemu_status
from .qemu_status import start_machine

PREFIX = {"lxc": "vz", "qemu": "qm"}
NOT_COPIED = {"lock", "snaptime", "snapstate", "vmstate", "description"}


def listing(call: Call) -> list[dict[str, Any]]:
    """All snapshots, then the current state."""
    conf, found = call.conf, list[dict[str, Any]]()
    for name, values in sorted(conf.snapshots.items(), key=lambda item: digest(item[0])):  # PVE's list has no order
        item: dict[str, Any] = {"name": name, "snaptime": int(values.get("snaptime", 0))}
        item["description"] = values.get("description", "")
        if call.kind == "qemu":
            item["vmstate"] = 1 if values.get("vmstate") else 0
        found.append(item | {key: values[key] for key in ("parent", "snapstate") if values.get(key)})
    running = int(call.pve.running(call.vmid))
    current = {"name": "current", "digest": conf.digest, "running": running, "description": "You are here!"}
    return [*found, current | {key: conf.values[key] for key in ("parent",) if conf.values.get(key)}]


def create(call: Call) -> str:
    """Takes a snapshot in a task."""
    name, vmid, pve, kind = str(call["snapname"]), call.vmid, call.pve, call.kind
    asked = "pending" if name.lower() == "pending" else name
    reserved = asked in {"current", "vzdump" if kind == "lxc" else "pending"}
    refuse_if(reserved, f"unable to use snapshot name '{asked}' (reserved name)")
    if kind == "qemu":
        machine_state.check_savable(call.conf, call.flag("vmstate"))

    def work(log: Log) -> None:
        conf = call.conf.copy()
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

    return call.start_locked(f"{PREFIX[kind]}snapshot", work)


def _missing(name: object) -> str:
    return f"snapshot '{name}' does not exist"


def _check_takable(pve: Pve, conf: GuestConf, name: str) -> None:
    refuse_if(common.is_template(conf), "you can't take a snapshot if it's a template")
    common.check_lock(conf)
    refuse_if(name in conf.snapshots, f"snapshot name '{name}' already used")
    if not volume_features.all_have(pve, "snapshot", conf.kind, conf.values):
        raise failure("snapshot feature is not available")


def delete(call: Call) -> str:
    """Removes a snapshot in a task."""
    name, pve = str(call["snapname"]), call.pve

    def work(log: Log) -> None:
        conf = call.conf.copy()
        refuse_if(name not in conf.snapshots, _missing(name))
        common.check_lock(conf)
        refuse_if(common.is_template(conf), "you can't delete a snapshot if vm is a template")
        try:
            pve.backend.delete_snapshot(pve.spec(conf), name, log)
        except BackendError as error:
            if not call.flag("force"):
                raise
            log(str(error))
        _forget(call, conf, name)
        pve.guests.save(conf)

    return call.start_locked(f"{PREFIX[call.kind]}delsnapshot", work)


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


def rollback(call: Call) -> str:
    """Puts a guest back to a snapshot in a task."""
    name, vmid, pve, kind = str(call["snapname"]), call.vmid, call.pve, call.kind
    if kind == "qemu" and call.flag("start"):
        call.check(f"/vms/{vmid}", "VM.PowerMgmt")

    def work(log: Log) -> None:
        with call.locked(log):
            conf = call.conf.copy()
            refuse_if(common.is_template(conf), "you can't rollback if vm is a template")
            refuse_if(name not in conf.snapshots, _missing(name))
            common.check_lock(conf)
            if pve.running(vmid):
                pve.backend.stop(pve.spec(conf), log)
            pve.backend.rollback(pve.spec(conf), name, log)
            resumed = bool(conf.snapshots[name].get("vmstate"))
            _put_back(conf, name)
            conf = pve.guests.save(conf)
            if resumed:
                start_machine(call, conf, log)
        if call.flag("start") and not pve.running(vmid):
            (lxc_status if kind == "lxc" else qemu_status).start(call.to_guest(kind, vmid))

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


def config(call: Call) -> dict[str, Any]:
    """The configuration that a snapshot keeps."""
    values = call.conf.snapshots.get(call["snapname"])
    return guest_answers.typed_all(call.kind, existing(values, _missing(call["snapname"])))


def describe(call: Call) -> None:
    """Changes a snapshot's description."""
    if call.has("description"):
        with call.locked():
            conf = call.conf.copy()
            common.check_lock(conf)
            snapshot = existing(conf.snapshots.get(call["snapname"]), _missing(call["snapname"]))
            snapshot["description"] = str(call["description"])
            call.pve.guests.save(conf)


def feature(call: Call) -> dict[str, Any]:
    """Whether a guest can be snapshotted, cloned or copied now."""
    if call.kind == "qemu":
        check_exists(call.pve, call.vmid)
    conf, name = call.conf, call.get("snapname")
    refuse_if(name and name not in conf.snapshots, _missing(name))
    values = conf.snapshots[name] if name else conf.values
    has = volume_features.all_have(call.pve, str(call["feature"]), call.kind, values, name)
    return {"hasFeature": int(has), **({"nodes": [call.pve.node.name]} if call.kind == "qemu" else {})}


for _kind in ("lxc", "qemu"):
    _base = f"/nodes/{{node}}/{_kind}/{{vmid}}/snapshot"
    _one = _base + "/{snapname}"
    route("GET", _base)(listing)
    route("POST", _base)(create)
    route("DELETE", _one)(delete)
    route("POST", _one + "/rollback")(rollback)
    route("GET", _one + "/config")(config)
    route("PUT", _one + "/config")(describe)
    route("GET", _base.replace("/snapshot", "/feature"))(feature)
