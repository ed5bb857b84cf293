"""Containers: list, configuration, removal, resize, template."""

from __future__ import annotations

import re
from typing import Any

from ...backend import RunState
from .. import common, guest_removal, ha, lxc_config, lxc_update, rows, volume_features, volumes
from ..errors import TaskError, failure, refuse_if
from ..guestconf import GuestConf, Values
from ..pve import Pve
from ..registry import Call, route
from ..tasks import Log
from ..words import parse_size, split_list, truth
from .storage_content import shown_path

BASE = "/nodes/{node}/lxc"
ONE = BASE + "/{vmid}"
MODIFIED = "detected modified configuration - file changed by other user? Try again."
PRESSURE = {f"pressure{what}{kind}": "0.00" for what in ("cpu", "io", "memory") for kind in ("some", "full")}


def status(call: Call, conf: GuestConf, state: RunState | None) -> dict[str, Any]:
    """One container as lists and status/current show it."""
    values = conf.values
    size = parse_size(common.size_field(values.get("rootfs")) or "") or 4 << 30
    found: dict[str, Any] = {
        "vmid": conf.vmid,
        "type": "lxc",
        "status": "running" if state else "stopped",
        "name": (values.get("hostname") or f"CT{conf.vmid}").replace(" ", ""),
        "cpus": _cpus(call, values),
        "disk": state.disk if state else 0,  # of a running container PVE asks its file system
        "maxdisk": size,
        "mem": state.memory if state else 0,
        "swap": 0,
        "maxmem": int(values.get("memory", 512)) << 20,
        "maxswap": int(values.get("swap", 0)) << 20,
        "uptime": int(state.uptime) if state else 0,
        "cpu": state.cpu if state else 0,
        "netin": state.netin if state else 0,
        "netout": state.netout if state else 0,
        "diskread": 0,
        "diskwrite": 0,
    }
    if state:
        found |= {"pid": state.pid, **PRESSURE}
    if values.get("tags") is not None:
        found["tags"] = values["tags"]
    if common.is_template(conf):
        found["template"] = 1
    if values.get("lock"):
        found["lock"] = values["lock"]
    return found


def _cpus(call: Call, values: Values) -> int | str:
    """The cores, else the limit as text, which is how PVE keeps a number that may have a fraction."""
    if values.get("cores", "0") != "0":
        return int(values["cores"])
    limit = values.get("cpulimit", "0")
    return limit if float(limit) else call.pve.node.cores


@route("GET", BASE)
def listing(call: Call) -> rows.JsonText:
    """The containers that the caller may see."""
    return rows.listing(call, "lxc", status)


@route("GET", ONE + "/config")
def get_config(call: Call) -> dict[str, Any]:
    """The configuration with what is pending, or as it is now, or of a snapshot."""
    found = common.config_result(call, call.pve.conf(call.vmid, "lxc"))
    return {key: value for key, value in found.items() if _readable(call, key)}


@route("GET", ONE + "/pending")
def get_pending(call: Call) -> list[dict[str, Any]]:
    """The configuration and what waits for a restart."""
    found = common.pending_result(call.pve.conf(call.vmid, "lxc"))
    return [item for item in found if _readable(call, item["key"])]


def _readable(call: Call, key: str) -> bool:
    """Whether the caller may read an option: environments may hold secrets."""
    return key != "env" or call.allowed(f"/vms/{call.vmid}", "VM.Config.Options")


@route("PUT", ONE + "/config")
def put_config(call: Call) -> None:
    """Changes options; what cannot be changed in a running container waits."""
    new = {k: str(v) for k, v in call.params.items() if k not in ("node", "vmid", "digest")}
    refuse_if(not new and not call.emptied - {"digest"}, "no options specified")
    delete = split_list(new.pop("delete", ""))
    for key in sorted(call.emptied - {"digest", "delete", "revert"}):
        refuse_if(re.fullmatch(r"net\d+", key), "format error")
        if key == "tags":
            new[key] = ""
        else:
            delete.append(key)
    revert = split_list(new.pop("revert", ""))
    vmid = call.vmid
    call.pve.conf(vmid, "lxc")
    with call.pve.lock(vmid, "lxc", held="lock" in call.faults):
        conf = call.pve.conf(vmid, "lxc")
        common.check_lock(conf)
        check_digest(call, conf)
        unprivileged = truth(conf.values.get("unprivileged"))
        lxc_config.check_modify(call, vmid, None, conf.values, {}, [*delete, *revert], unprivileged)
        lxc_update.check_sets(new, delete, revert)
        lxc_config.check_modify(call, vmid, None, conf.values, new, [], unprivileged)
        changed = lxc_update.update(call, conf, new, delete, revert, call.pve.running(vmid))
        lxc_update.check_built(call.pve, call.pve.guests.save(changed))  # what it refuses is stored all the same


def check_digest(call: Call, conf: GuestConf) -> None:
    """Raises when the caller's digest is not that of the stored configuration."""
    refuse_if(call.has("digest") and call["digest"] != conf.digest, MODIFIED)


def _check_removal(call: Call, conf: GuestConf) -> None:
    vmid = conf.vmid
    common.check_protection(conf, f"can't remove CT {vmid}")
    common.check_lock(conf)
    if ha.managed(call.pve, f"ct:{vmid}") and not call.flag("purge"):
        raise failure(f"unable to remove CT {vmid} - used in HA resources and purge parameter not set.")


@route("DELETE", ONE)
def destroy(call: Call) -> str:
    """Removes a container in a task."""
    pve, vmid = call.pve, call.vmid
    _check_removal(call, pve.conf(vmid, "lxc"))
    running = f"unable to destroy CT {vmid} - container is running"
    refuse_if(not call.flag("force") and pve.running(vmid), running)

    def work(log: Log) -> None:
        with pve.lock(vmid, "lxc", log, "lock" in call.faults):
            conf = pve.conf(vmid, "lxc")
            _check_removal(call, conf)
            pve.runtime.forget()
            if pve.running(vmid):
                refuse_if(not call.flag("force"), TaskError(running))
                log(f"forced to stop CT {vmid} before destroying!")
                pve.backend.stop(pve.spec(conf), log)
            guest_removal.remove(call, conf, log)

    return call.start("vzdestroy", vmid, work)


@route("PUT", ONE + "/resize")
def resize(call: Call) -> str:
    """Grows a disk in a task."""
    pve, vmid, disk = call.pve, call.vmid, str(call["disk"])

    def check() -> tuple[GuestConf, dict[str, Any], int]:
        conf = pve.conf(vmid, "lxc")
        common.check_lock(conf)
        new = {"disk": disk}
        lxc_config.check_modify(call, vmid, None, conf.values, new, [], truth(conf.values.get("unprivileged")))
        check_digest(call, conf)
        fields = lxc_update.disk(conf, disk)
        volid = str(fields["volume"])
        sid, name = volumes.split(volid)
        owner = volumes.parse_name(volumes.storage(pve, sid), name).owner
        refuse_if(owner != vmid, f"can't resize mount point owned by another container ({owner})")
        call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
        volumes.activate(pve, volid)
        return conf, fields, new_size(call, volumes.size_of(pve, volid))

    check()

    def work(log: Log) -> None:
        with pve.lock(vmid, "lxc", log, "lock" in call.faults):
            conf, fields, size = check()
            if "storage-full" in call.faults:
                raise TaskError(f"unable to resize volume {fields['volume']}: No space left on device")
            pve.backend.resize(pve.spec(conf), disk, size, log)
            volumes.resize(pve, fields["volume"], size)
            fields["size"] = size
            conf = conf.copy()
            conf.values[disk] = lxc_config.print_volume(disk, fields)
            pve.guests.save(conf)
            if volumes.storage(pve, volumes.split(fields["volume"])[0])["type"] in volumes.FILE_BASED:
                _say_resized(call, fields["volume"], size, log)

    return call.start("resize", vmid, work)


def _say_resized(call: Call, volid: str, size: int, log: Log) -> None:
    path, blocks = shown_path(call, volid), size // 4096
    log("Image resized.")
    log(f"Resizing the filesystem on {path} to {blocks} (4k) blocks.")
    log(f"The filesystem on {path} is now {blocks} (4k) blocks long.\n")


def new_size(call: Call, current: int) -> int:
    """The size that `size` asks for; a smaller or equal one is refused."""
    text = str(call["size"])
    asked = parse_size(text.lstrip("+")) or 0
    size = current + asked if text.startswith("+") else asked
    refuse_if(size < current, "unable to shrink disk size")
    refuse_if(size == current, "disk is already at specified size")
    return size


@route("POST", ONE + "/template")
def template(call: Call) -> None:
    """Turns a container into a template: its task is started, but not named in the answer."""
    pve, vmid = call.pve, call.vmid

    def check() -> GuestConf:
        conf = pve.conf(vmid, "lxc")
        common.check_lock(conf)
        refuse_if(conf.snapshots, "unable to create template, because CT contains snapshots")
        refuse_if(common.is_template(conf), "you can't convert a template to a template")
        refuse_if(pve.running(vmid), "you can't convert a CT to template if the CT is running")
        return conf

    def work(log: Log) -> None:
        with pve.lock(vmid, "lxc", log):
            conf = pve.conf(vmid, "lxc").copy()
            make_template(pve, conf)
            pve.guests.save(conf)

    with pve.lock(vmid, "lxc", held="lock" in call.faults):
        check()
    call.start("vztemplate", vmid, work)


def make_template(pve: Pve, conf: GuestConf) -> None:
    """Makes base images of a container's disks and marks it as a template."""
    disks = list(volume_features.each("lxc", conf.values))
    for _, _, volid in disks:
        if not volume_features.has(pve, "template", volid):
            raise TaskError(f"Template feature is not available for '{volid}'")
    for key, fields, volid in disks:
        conf.values[key] = volume_features.printed("lxc", key, fields, volume_features.make_base(pve, volid))
    conf.values["template"] = "1"


@route("GET", ONE + "/interfaces", slow=True)
def interfaces(call: Call) -> list[dict[str, Any]] | None:
    """The network interfaces that a running container has."""
    conf = call.pve.conf(call.vmid, "lxc")
    if not call.pve.running(call.vmid):
        return None
    found = call.pve.backend.addresses(call.pve.spec(conf)) or _configured_interfaces(conf)
    return [_lxc_interface(item) for item in found]


def _configured_interfaces(conf: GuestConf) -> list[dict[str, Any]]:
    """What a container without processes would have: the loopback, and each card with its fixed addresses."""
    local = [_address("127.0.0.1/8"), _address("::1/128")]
    found = [{"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": local}]
    for key in sorted(k for k in conf.values if re.fullmatch(r"net\d+", k)):
        net = lxc_config.parse_net(conf.values[key])
        fixed = [_address(str(net[name])) for name in ("ip", "ip6") if "/" in str(net.get(name, ""))]
        hardware = str(net["hwaddr"]).lower()
        found.append({"name": net["name"], "hardware-address": hardware, "ip-addresses": fixed})
    return found


def _address(text: str) -> dict[str, Any]:
    address, _, length = text.partition("/")
    kind = "inet6" if ":" in address else "inet"
    return {"ip-address": address, "ip-address-type": kind, "prefix": int(length)}


def _lxc_interface(item: dict[str, Any]) -> dict[str, Any]:
    addresses: list[dict[str, Any]] = list(item.get("ip-addresses", []))
    result: dict[str, Any] = {
        "name": item.get("name"),
        "hwaddr": item.get("hardware-address"),
        "hardware-address": item.get("hardware-address"),
        "ip-addresses": addresses,
    }
    for address in addresses:
        key = "inet" if address.get("ip-address-type") in ("inet", "ipv4") else "inet6"
        address["ip-address-type"] = key
        result[key] = f"{address.get('ip-address')}/{address.get('prefix')}"
    return result
