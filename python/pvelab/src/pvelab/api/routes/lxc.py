"""Containers: list, configuration, removal, resize, template."""

from __future__ import annotations

import re
from typing import Any

from ...backend import RunState
from .. import common, guest_answers, guest_removal, ha, lxc_config, lxc_update, rows, volume_features, volumes
from ..errors import refuse_if
from ..guestconf import GuestConf, Values
from ..pve import Pve
from ..registry import Call, route
from ..storage_paths import shown_path
from ..tasks import Log
from ..words import parse_size, split_list, truth

BASE = "/nodes/{node}/lxc"
ONE = BASE + "/{vmid}"


def status(call: Call, conf: GuestConf, state: RunState | None) -> dict[str, Any]:
    """One container as lists and status/current show it."""
    values = conf.values
    found: dict[str, Any] = {
        **guest_answers.figures(conf, state),
        "type": "lxc",
        "name": (values.get("hostname") or f"CT{conf.vmid}").replace(" ", ""),
        "cpus": _cpus(call, values),
        "disk": state.disk if state else 0,  # of a running container PVE asks its file system
        "maxdisk": parse_size(common.size_field(values.get("rootfs")) or "") or 4 << 30,
        "maxmem": int(values.get("memory", 512)) << 20,
        "maxswap": int(values.get("swap", 0)) << 20,
    }
    pressure = dict.fromkeys(guest_answers.PRESSURE, "0.00") if state else {}
    return {**found, **dict.fromkeys(("swap", "diskread", "diskwrite"), 0), **pressure}


def _cpus(call: Call, values: Values) -> int | str:
    """The cores, else the limit as text, which is how PVE keeps a number that may have a fraction."""
    if values.get("cores", "0") != "0":
        return int(values["cores"])
    limit = values.get("cpulimit", "0")
    return limit if float(limit) else call.pve.node.cores


@route("GET", BASE)
def listing(call: Call) -> rows.JsonText:
    """The containers that the caller may see."""
    return guest_answers.listing(call, "lxc", status)


@route("GET", ONE + "/config")
def get_config(call: Call) -> dict[str, Any]:
    """The configuration with what is pending, or as it is now, or of a snapshot."""
    return {key: value for key, value in guest_answers.config_result(call).items() if _readable(call, key)}


@route("GET", ONE + "/pending")
def get_pending(call: Call) -> list[dict[str, Any]]:
    """The configuration and what waits for a restart."""
    return [item for item in guest_answers.pending_result(call.conf) if _readable(call, item["key"])]


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
    revert, vmid = split_list(new.pop("revert", "")), call.vmid
    call.pve.conf(vmid, "lxc")
    with call.locked():
        conf = call.conf
        common.check_lock(conf)
        call.check_digest(conf.digest)
        unprivileged = truth(conf.values.get("unprivileged"))
        lxc_config.check_modify(call, vmid, None, conf.values, {}, [*delete, *revert], unprivileged)
        lxc_update.check_sets(new, delete, revert)
        lxc_config.check_modify(call, vmid, None, conf.values, new, [], unprivileged)
        changed = lxc_update.update(call, conf, new, delete, revert, call.pve.running(vmid))
        lxc_update.check_built(call.pve, call.pve.guests.save(changed))  # what it refuses is stored all the same


@route("DELETE", ONE)
def destroy(call: Call) -> str:
    """Removes a container in a task."""
    pve, vmid = call.pve, call.vmid

    def check() -> GuestConf:
        conf = call.conf
        common.check_protection(conf, f"can't remove CT {vmid}")
        common.check_lock(conf)
        kept = ha.managed(pve, conf) and not call.flag("purge")
        refuse_if(kept, f"unable to remove CT {vmid} - used in HA resources and purge parameter not set.")
        if not call.flag("force"):
            refuse_if(pve.running(vmid), f"unable to destroy CT {vmid} - container is running")
        return conf

    def work(conf: GuestConf, log: Log) -> None:
        if pve.running(vmid):
            log(f"forced to stop CT {vmid} before destroying!")
            pve.backend.stop(pve.spec(conf), log)
        guest_removal.remove(call, conf, log)

    return call.start_checked("vzdestroy", check, work)


@route("PUT", ONE + "/resize")
def resize(call: Call) -> str:
    """Grows a disk in a task."""
    pve, vmid, disk = call.pve, call.vmid, str(call["disk"])

    def check() -> tuple[GuestConf, dict[str, Any], int]:
        conf = call.conf
        common.check_lock(conf)
        unprivileged = truth(conf.values.get("unprivileged"))
        lxc_config.check_modify(call, vmid, None, conf.values, {"disk": disk}, [], unprivileged)
        call.check_digest(conf.digest)
        fields = lxc_update.disk(conf, disk)
        volid = str(fields["volume"])
        owner = volume_features.owner(pve, volid)
        refuse_if(owner != vmid, f"can't resize mount point owned by another container ({owner})")
        size = common.grown(call, volid, "unable to shrink disk size")
        refuse_if(size is None, "disk is already at specified size")
        return conf, fields, size or 0

    def work(found: tuple[GuestConf, dict[str, Any], int], log: Log) -> None:
        conf, fields, size = found
        volid = str(fields["volume"])
        common.resize(call, conf, volid, size, log)
        pve.guests.set(conf, {disk: lxc_config.print_volume(disk, {**fields, "size": size})})
        if volumes.storage(pve, volumes.split(volid)[0])["type"] in volumes.FILE_BASED:
            path, blocks = shown_path(call.pve, volid), size // 4096
            log("Image resized.")
            log(f"Resizing the filesystem on {path} to {blocks} (4k) blocks.")
            log(f"The filesystem on {path} is now {blocks} (4k) blocks long.\n")

    return call.start_checked("resize", check, work)


@route("POST", ONE + "/template")
def template(call: Call) -> None:
    """Turns a container into a template: its task is started, but not named in the answer."""
    pve, vmid = call.pve, call.vmid
    with call.locked():
        conf = call.conf
        common.check_lock(conf)
        refuse_if(conf.snapshots, "unable to create template, because CT contains snapshots")
        refuse_if(common.is_template(conf), "you can't convert a template to a template")
        refuse_if(pve.running(vmid), "you can't convert a CT to template if the CT is running")

    def work(log: Log) -> None:
        fresh = call.conf.copy()
        make_template(pve, fresh)
        pve.guests.save(fresh)

    call.start_locked("vztemplate", work)


def make_template(pve: Pve, conf: GuestConf) -> None:
    """Makes base images of a container's disks and marks it as a template."""
    disks = list(volume_features.each("lxc", conf.values))
    for _, _, volid in disks:
        refuse_if(not volume_features.has(pve, "template", volid), f"Template feature is not available for '{volid}'")
    for key, fields, volid in disks:
        conf.values[key] = volume_features.printed("lxc", key, fields, volume_features.make_base(pve, volid))
    conf.values["template"] = "1"


@route("GET", ONE + "/interfaces", slow=True)
def interfaces(call: Call) -> list[dict[str, Any]] | None:
    """The network interfaces that a running container has."""
    conf = call.conf
    if not call.pve.running(call.vmid):
        return None
    return [_lxc_interface(item) for item in call.pve.backend.addresses(call.pve.spec(conf))]


def _lxc_interface(item: dict[str, Any]) -> dict[str, Any]:
    addresses: list[dict[str, Any]] = list(item.get("ip-addresses", []))
    hardware = item.get("hardware-address")
    result = {"name": item.get("name"), "hwaddr": hardware, "hardware-address": hardware, "ip-addresses": addresses}
    for address in addresses:
        key = "inet" if address.get("ip-address-type") == "ipv4" else "inet6"
        address["ip-address-type"] = key
        result[key] = f"{address.get('ip-address')}/{address.get('prefix')}"
    return result
