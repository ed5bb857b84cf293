"""Virtual machines: list, configuration, removal, resize, template."""

from __future__ import annotations

from typing import Any

from ...backend import RunState
from .. import common, guest_removal, ha, qemu_config, qemu_monitor, qemu_update, rows, volume_features, volumes
from ..errors import TaskError, bad, failure, refuse_if
from ..guestconf import GuestConf
from ..pve import Pve
from ..registry import Call, route
from ..tasks import Log
from .lxc import PRESSURE
from .storage_content import shown_path

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
    values = conf.values
    cpus = min(int(values.get("sockets", 1)) * int(values.get("cores", 1)), call.pve.node.cores)
    found: dict[str, Any] = {
        "vmid": conf.vmid,
        "status": "running" if state else "stopped",
        "name": conf.name,
        "cpus": int(values["vcpus"]) if values.get("vcpus") else cpus,
        "disk": 0,
        "maxdisk": disk_size(conf),
        "mem": state.memory if state else 0,
        "memhost": state.memory if state else 0,
        "maxmem": qemu_config.memory_mib(values.get("memory")) << 20,
        "uptime": int(state.uptime) if state else 0,
        "cpu": state.cpu if state else 0,
        "netin": state.netin if state else 0,
        "netout": state.netout if state else 0,
    }
    if state:
        found |= {"pid": state.pid, **dict.fromkeys(PRESSURE, 0)}
    if values.get("balloon") and values["balloon"] != "0":
        found |= {"balloon_min": int(values["balloon"]) << 20, "shares": int(values.get("shares", 1000))}
    if common.is_template(conf):
        found["template"] = 1
    if any(f"serial{n}" in values for n in range(4)):
        found["serial"] = 1
    for key in ("lock", "tags"):
        if values.get(key) is not None:
            found[key] = values[key]
    return found


def full_status(call: Call, conf: GuestConf, state: RunState | None) -> dict[str, Any]:
    """What the machine's monitor adds."""
    found = {**status(call, conf, state), "qmpstatus": "running" if state else "stopped"}
    return {**found, **qemu_monitor.running(call.pve, conf, found)} if state else found


@route("GET", BASE)
def listing(call: Call) -> rows.JsonText | list[dict[str, Any]]:
    """The machines that the caller may see, with what the monitor says when asked in full."""
    if not call.flag("full"):
        return rows.listing(call, "qemu", status)
    states = call.pve.runtime.all()
    return [
        full_status(call, conf, states.get(conf.vmid))
        for conf in call.pve.guests.all()
        if conf.kind == "qemu" and call.allowed(f"/vms/{conf.vmid}", "VM.Audit")
    ]


@route("GET", ONE + "/config")
def get_config(call: Call) -> dict[str, Any]:
    """The configuration with what is pending, or as it is now, or of a snapshot."""
    return common.config_result(call, call.pve.conf(call.vmid, "qemu"))


@route("GET", ONE + "/pending")
def get_pending(call: Call) -> list[dict[str, Any]]:
    """The configuration and what waits for a restart."""
    return common.pending_result(call.pve.conf(call.vmid, "qemu"))


@route("PUT", ONE + "/config")
def put_config(call: Call) -> None:
    """Changes options in the call."""
    qemu_update.synchronous(call)


@route("POST", ONE + "/config")
def post_config(call: Call) -> str | None:
    """Changes options in a task."""
    return qemu_update.in_background(call)


def only_root(call: Call, *names: str) -> None:
    """Raises unless these options are unused or the caller is root@pam by ticket."""
    for name in names:
        if call.has(name) and call[name] != "0" and not call.is_root:
            raise bad(**{name.replace("-", "__"): "Only root may use this option."})


@route("DELETE", ONE)
def destroy(call: Call) -> str:
    """Removes a machine in a task."""
    pve, vmid = call.pve, call.vmid
    only_root(call, "skiplock")

    def check() -> GuestConf:
        conf = pve.conf(vmid, "qemu")
        common.check_protection(conf, f"can't remove VM {vmid}")
        if ha.managed(pve, f"vm:{vmid}") and not call.flag("purge"):
            raise failure(f"unable to remove VM {vmid} - used in HA resources and purge parameter not set.")
        refuse_if(pve.running(vmid), f"VM {vmid} is running - destroy failed")
        return conf

    check()

    def work(log: Log) -> None:
        with pve.lock(vmid, "qemu", log, "lock" in call.faults):
            pve.runtime.forget()
            conf = check()
            if not call.flag("skiplock") and conf.values.get("lock") != "suspended":
                common.check_lock(conf)
            guest_removal.remove(call, conf, log)

    return call.start("qmdestroy", vmid, work)


@route("PUT", ONE + "/resize")
def resize(call: Call) -> str:
    """Grows a disk in a task."""
    pve, vmid, disk = call.pve, call.vmid, str(call["disk"])
    only_root(call, "skiplock")

    def work(log: Log) -> None:
        with pve.lock(vmid, "qemu", log, "lock" in call.faults):
            conf = pve.conf(vmid, "qemu")
            if call.has("digest") and call["digest"] != conf.digest:
                raise TaskError("checksum mismatch (file change by other user?)")
            if not call.flag("skiplock"):
                common.check_lock(conf)
            refuse_if(disk not in conf.values, TaskError(f"disk '{disk}' does not exist"))
            fields = qemu_config.parse_drive(disk, conf.values[disk]) or {}
            volid = str(fields["file"])
            kind = volume_features.format_of(pve, volid)
            refuse_if(qemu_config.is_cdrom(fields), TaskError("you can't resize a cdrom"))
            refuse_if(kind not in ("raw", "qcow2"), TaskError("can't resize this image format"))
            call.check(f"/storage/{volumes.split(volid)[0]}", "Datastore.AllocateSpace")
            volumes.activate(pve, volid)
            size = _new_size(call, volumes.size_of(pve, volid))
            if size is None:
                return
            if "storage-full" in call.faults:
                raise TaskError(f"unable to resize volume {volid}: No space left on device")
            pve.backend.resize(pve.spec(conf), disk, size, log)
            volumes.resize(pve, volid, size)
            if shown_path(call, volid).endswith((".raw", ".qcow2")):
                log("Image resized.")
            fields["size"] = size
            conf = conf.copy()
            conf.values[disk] = qemu_config.print_drive(fields)
            pve.guests.save(conf)

    return call.start("resize", vmid, work)


def _new_size(call: Call, current: int) -> int | None:
    from ..words import parse_size

    text = str(call["size"])
    asked = parse_size(text.lstrip("+")) or 0
    size = current + asked if text.startswith("+") else asked
    refuse_if(size < current, TaskError("shrinking disks is not supported"))
    return None if size == current else size


@route("PUT", ONE + "/unlink")
def unlink(call: Call) -> None:
    """Takes drives away, as `delete` does."""
    params = {"node": call["node"], "vmid": call["vmid"], "delete": call["idlist"]}
    if call.has("force"):
        params["force"] = call["force"]
    qemu_update.synchronous(Call(call.pve, call.user, params, call.method, call.path, faults=call.faults))


@route("POST", ONE + "/template")
def template(call: Call) -> str:
    """Turns a machine, or one more disk of a template, into a template in a task."""
    pve, vmid = call.pve, call.vmid

    def check() -> GuestConf:
        conf = pve.conf(vmid, "qemu")
        common.check_lock(conf)
        refuse_if(conf.snapshots, "unable to create template, because VM contains snapshots")
        refuse_if(common.is_template(conf) and not call.has("disk"), "you can't convert a template to a template")
        refuse_if(pve.running(vmid), "you can't convert a VM to template if VM is running")
        return conf

    check()

    def work(log: Log) -> None:
        with pve.lock(vmid, "qemu", log):
            conf = check().copy()
            make_template(pve, conf, call.get("disk"))
            pve.guests.save(conf)

    return call.start("qmtemplate", vmid, work)


def make_template(pve: Pve, conf: GuestConf, disk: str | None = None) -> None:
    """Makes base images of a machine's disks (those that can be) and marks it as a template."""
    conf.values["template"] = "1"
    for key, fields, volid in list(volume_features.each("qemu", conf.values)):
        if disk in (None, key) and volume_features.has(pve, "template", volid):
            conf.values[key] = volume_features.printed("qemu", key, fields, volume_features.make_base(pve, volid))
