"""Virtual machines: list, configuration, removal, resize, template."""

from __future__ import annotations

from typing import Any

from ...backend import RunState
from .. import common, guest_answers, guest_removal, ha, qemu_config, qemu_monitor, qemu_update, rows, volume_features
from ..errors import refuse_if
from ..guestconf import GuestConf
from ..pve import Pve
from ..registry import Call, route
from ..storage_paths import shown_path
from ..tasks import Log

BASE = "/nodes/{node}/qemu"
ONE = BASE + "/{vmid}"


def disk_size(conf: GuestConf) -> int:
    """The size of the first boot disk."""
    order = qemu_config.boot_order(conf.values) or qemu_config.boot_devices(conf.values)
    for key in order:
        if qemu_config.is_drive(key) and key in conf.values:
            fields = qemu_config.parse_drive(key, conf.values[key]) or {}
            if not qemu_config.is_cdrom(fields):
                return int(fields.get("size") or 0)
    return 0


def status(call: Call, conf: GuestConf, state: RunState | None) -> dict[str, Any]:
    """One virtual machine as lists and status/current show it."""
    values, found = conf.values, guest_answers.figures(conf, state)
    cpus = min(int(values.get("sockets", 1)) * int(values.get("cores", 1)), call.pve.node.cores)
    found |= {
        "name": conf.name, "cpus": int(values["vcpus"]) if values.get("vcpus") else cpus, "disk": 0,
        "maxdisk": disk_size(conf), "memhost": found["mem"],
        "maxmem": qemu_config.memory_mib(values.get("memory")) << 20,
    }  # fmt: skip
    if state:
        found |= dict.fromkeys(guest_answers.PRESSURE, 0)
    if values.get("balloon") and values["balloon"] != "0":
        found |= {"balloon_min": int(values["balloon"]) << 20, "shares": int(values.get("shares", 1000))}
    return {**found, "serial": 1} if any(f"serial{n}" in values for n in range(4)) else found


def full_status(call: Call, conf: GuestConf, state: RunState | None) -> dict[str, Any]:
    """What the machine's monitor adds."""
    found = {**status(call, conf, state), "qmpstatus": "running" if state else "stopped"}
    return {**found, **qemu_monitor.running(call.pve, conf, found)} if state else found


@route("GET", BASE)
def listing(call: Call) -> rows.JsonText | list[dict[str, Any]]:
    """The machines that the caller may see, with what the monitor says when asked in full."""
    if not call.flag("full"):
        return guest_answers.listing(call, "qemu", status)
    states = call.pve.runtime.all()
    return [
        full_status(call, conf, states.get(conf.vmid))
        for conf in call.pve.guests.all()
        if conf.kind == "qemu" and call.allowed(f"/vms/{conf.vmid}", "VM.Audit")
    ]


route("GET", ONE + "/config")(guest_answers.config_result)
route("GET", ONE + "/pending")(lambda call: guest_answers.pending_result(call.conf))
route("PUT", ONE + "/config")(qemu_update.synchronous)
route("POST", ONE + "/config")(qemu_update.in_background)


@route("DELETE", ONE)
def destroy(call: Call) -> str:
    """Removes a machine in a task."""
    pve, vmid = call.pve, call.vmid
    call.only_root("skiplock")

    def check() -> GuestConf:
        conf = call.conf
        common.check_protection(conf, f"can't remove VM {vmid}")
        kept = ha.managed(pve, conf) and not call.flag("purge")
        refuse_if(kept, f"unable to remove VM {vmid} - used in HA resources and purge parameter not set.")
        refuse_if(pve.running(vmid), f"VM {vmid} is running - destroy failed")
        return conf

    def work(conf: GuestConf, log: Log) -> None:
        if not call.flag("skiplock") and conf.values.get("lock") != "suspended":
            common.check_lock(conf)
        guest_removal.remove(call, conf, log)

    return call.start_checked("qmdestroy", check, work)


@route("PUT", ONE + "/resize")
def resize(call: Call) -> str:
    """Grows a disk in a task."""
    pve, disk = call.pve, str(call["disk"])
    call.only_root("skiplock")

    def work(log: Log) -> None:
        conf = call.conf
        call.check_digest(conf.digest, qemu_update.CHANGED)
        if not call.flag("skiplock"):
            common.check_lock(conf)
        refuse_if(disk not in conf.values, f"disk '{disk}' does not exist")
        fields = qemu_config.parse_drive(disk, conf.values[disk]) or {}
        volid = str(fields["file"])
        growing = volume_features.format_of(pve, volid) in ("raw", "qcow2")
        refuse_if(qemu_config.is_cdrom(fields), "you can't resize a cdrom")
        refuse_if(not growing, "can't resize this image format")
        size = common.grown(call, volid, "shrinking disks is not supported")
        if size is not None:
            common.resize(call, conf, volid, size, log)
            if shown_path(pve, volid).endswith((".raw", ".qcow2")):
                log("Image resized.")
            pve.guests.set(conf, {disk: qemu_config.print_drive({**fields, "size": size})})

    return call.start_locked("resize", work)


@route("POST", ONE + "/template")
def template(call: Call) -> str:
    """Turns a machine, or one more disk of a template, into a template in a task."""
    pve, vmid = call.pve, call.vmid

    def check() -> GuestConf:
        conf = call.conf
        common.check_lock(conf)
        refuse_if(conf.snapshots, "unable to create template, because VM contains snapshots")
        twice = common.is_template(conf) and not call.has("disk")
        refuse_if(twice, "you can't convert a template to a template")
        refuse_if(pve.running(vmid), "you can't convert a VM to template if VM is running")
        return conf

    def work(conf: GuestConf, log: Log) -> None:
        fresh = conf.copy()
        make_template(pve, fresh, call.get("disk"))
        pve.guests.save(fresh)

    return call.start_checked("qmtemplate", check, work)


def make_template(pve: Pve, conf: GuestConf, disk: str | None = None) -> None:
    """Makes base images of a machine's disks (those that can be) and marks it as a template."""
    conf.values["template"] = "1"
    for key, fields, volid in list(volume_features.each("qemu", conf.values)):
        if disk in (None, key) and volume_features.has(pve, "template", volid):
            conf.values[key] = volume_features.printed("qemu", key, fields, volume_features.make_base(pve, volid))
