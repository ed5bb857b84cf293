"""Containers: list, configuration, removal, resize, template."""

from __future__ import annotations

from typing import Any

from ...backend import RunState
from .. import common, ha, lxc_config, volumes
from ..errors import TaskError, failure
from ..guestconf import GuestConf
from ..registry import Call, index, route
from ..tasks import Log
from ..words import format_size, parse_size, split_list, truth

BASE = "/nodes/{node}/lxc"
ONE = BASE + "/{vmid}"
PRESSURE = {f"pressure{what}{kind}": "0.00" for what in ("cpu", "io", "memory") for kind in ("some", "full")}


def status(call: Call, conf: GuestConf, state: RunState | None) -> dict[str, Any]:
    """One container as lists and status/current show it."""
    values = conf.values
    size = parse_size(common.size_field(values.get("rootfs")) or "") or 4 << 30
    cpus = values.get("cores") or values.get("cpulimit")
    found: dict[str, Any] = {
        "vmid": conf.vmid,
        "type": "lxc",
        "status": "running" if state else "stopped",
        "name": (values.get("hostname") or f"CT{conf.vmid}").replace(" ", ""),
        "cpus": int(float(cpus)) if cpus and float(cpus) else call.pve.node.cores,
        "disk": state.disk if state else 0,
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


@route("GET", BASE)
def listing(call: Call) -> list[dict[str, Any]]:
    states = call.pve.runtime.all()
    return [
        status(call, conf, states.get(conf.vmid))
        for conf in call.pve.guests.all()
        if conf.kind == "lxc" and call.allowed(f"/vms/{conf.vmid}", "VM.Audit")
    ]


@route("GET", ONE)
def directory(call: Call) -> list[dict[str, str]]:
    call.pve.conf(call.vmid, "lxc")
    names = "config pending status vncproxy termproxy vncwebsocket spiceproxy migrate clone rrd rrddata"
    return [{"subdir": n} for n in f"{names} firewall snapshot resize interfaces".split()]


@route("GET", ONE + "/config")
def get_config(call: Call) -> dict[str, Any]:
    return common.config_result(call, call.pve.conf(call.vmid, "lxc"))


@route("GET", ONE + "/pending")
def get_pending(call: Call) -> list[dict[str, Any]]:
    return common.pending_result(call.pve.conf(call.vmid, "lxc"))


@route("PUT", ONE + "/config")
def put_config(call: Call) -> None:
    new = {k: str(v) for k, v in call.params.items() if k not in ("node", "vmid", "digest")}
    if not new:
        raise failure("no options specified")
    delete = split_list(new.pop("delete", ""))
    revert = split_list(new.pop("revert", ""))
    vmid = call.vmid
    call.pve.conf(vmid, "lxc")
    with call.pve.lock(vmid, "lxc", held="lock" in call.faults):
        conf = call.pve.conf(vmid, "lxc")
        common.check_lock(conf)
        check_digest(call, conf)
        unprivileged = truth(conf.values.get("unprivileged"))
        lxc_config.check_modify(call, vmid, None, conf.values, {}, [*delete, *revert], unprivileged)
        lxc_config.check_sets(new, delete, revert)
        lxc_config.check_modify(call, vmid, None, conf.values, new, [], unprivileged)
        changed = lxc_config.update(call, conf, new, delete, revert, call.pve.running(vmid))
        call.pve.guests.save(changed)


def check_digest(call: Call, conf: GuestConf) -> None:
    """Raises when the caller's digest is not that of the stored configuration."""
    if call.has("digest") and call["digest"] != conf.digest:
        raise failure("detected modified configuration - file changed by other user? Try again.")


def _check_removal(call: Call, conf: GuestConf) -> None:
    vmid = conf.vmid
    common.check_protection(conf, f"can't remove CT {vmid}")
    common.check_lock(conf)
    if ha.managed(call.pve, f"ct:{vmid}") and not call.flag("purge"):
        raise failure(f"unable to remove CT {vmid} - used in HA resources and purge parameter not set.")


@route("DELETE", ONE)
def destroy(call: Call) -> str:
    pve, vmid = call.pve, call.vmid
    _check_removal(call, pve.conf(vmid, "lxc"))
    running = f"unable to destroy CT {vmid} - container is running"
    if not call.flag("force") and pve.running(vmid):
        raise failure(running)

    def work(log: Log) -> None:
        with pve.lock(vmid, "lxc", log, "lock" in call.faults):
            conf = pve.conf(vmid, "lxc")
            _check_removal(call, conf)
            pve.runtime.forget()
            if pve.running(vmid):
                if not call.flag("force"):
                    raise TaskError(running)
                log(f"forced to stop CT {vmid} before destroying!")
                pve.backend.stop(pve.spec(conf), log)
            remove(call, conf, log)

    return call.start("vzdestroy", vmid, work)


def remove(call: Call, conf: GuestConf, log: Log) -> None:
    """Removes a stopped guest of either kind with its disks and all that names it."""
    pve, vmid = call.pve, conf.vmid
    locked = conf.copy()
    locked.values["lock"] = "destroyed"
    pve.guests.save(locked)
    pve.backend.destroy(pve.spec(conf), log)
    volumes.release(pve, *volumes.owned(pve, vmid))
    pve.runtime.forget()
    common.forget_access(pve, vmid)
    if call.flag("purge"):
        word = common.WORD[conf.kind]
        log(f"purging {word} {vmid} from related configurations..")
        ha.forget(pve, f"{'ct' if conf.kind == 'lxc' else 'vm'}:{vmid}")
        _forget_backups(call, vmid)
    pve.guests.remove(conf)


def _forget_backups(call: Call, vmid: int) -> None:
    with call.pve.cluster.lock:
        for job in call.pve.table("backup").values():
            if job.get("vmid"):
                job["vmid"] = ",".join(v for v in job["vmid"].split(",") if v != str(vmid))
        call.pve.cluster.save()


@route("PUT", ONE + "/resize")
def resize(call: Call) -> str:
    pve, vmid, disk = call.pve, call.vmid, str(call["disk"])

    def check() -> tuple[GuestConf, dict[str, Any], int]:
        conf = pve.conf(vmid, "lxc")
        common.check_lock(conf)
        new = {"disk": disk}
        lxc_config.check_modify(call, vmid, None, conf.values, new, [], truth(conf.values.get("unprivileged")))
        check_digest(call, conf)
        if disk not in conf.values:
            raise failure("unable to parse value of 'volume': property is missing and it is not optional")
        fields = lxc_config.parse_volume(disk, conf.values[disk])
        call.check(f"/storage/{volumes.split(fields['volume'])[0]}", "Datastore.AllocateSpace")
        return conf, fields, new_size(call, volumes.size_of(pve, fields["volume"]))

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
            log(f"  Size of volume {fields['volume']} changed to {format_size(size)}.")

    return call.start("resize", vmid, work)


def new_size(call: Call, current: int) -> int:
    """The size that `size` asks for; a smaller or equal one is refused."""
    text = str(call["size"])
    asked = parse_size(text.lstrip("+")) or 0
    size = current + asked if text.startswith("+") else asked
    if size < current:
        raise failure("unable to shrink disk size")
    if size == current:
        raise failure("disk is already at specified size")
    return size


@route("POST", ONE + "/template")
def template(call: Call) -> None:
    pve, vmid = call.pve, call.vmid

    def check() -> GuestConf:
        conf = pve.conf(vmid, "lxc")
        common.check_lock(conf)
        if common.is_template(conf):
            raise failure("you can't convert a CT to template if the CT is already a template")
        if pve.running(vmid):
            raise failure("you can't convert a CT to template if the CT is running")
        if conf.snapshots:
            raise failure("unable to create template, because CT contains snapshots")
        return conf

    check()

    def work(log: Log) -> None:
        with pve.lock(vmid, "lxc", log):
            conf = check().copy()
            conf.values["template"] = "1"
            pve.guests.save(conf)

    call.start("vztemplate", vmid, work)


@route("GET", ONE + "/interfaces", slow=True)
def interfaces(call: Call) -> list[dict[str, Any]] | None:
    conf = call.pve.conf(call.vmid, "lxc")
    if not call.pve.running(call.vmid):
        return None
    found = call.pve.backend.addresses(call.pve.spec(conf))
    return [_lxc_interface(item) for item in found]


def _lxc_interface(item: dict[str, Any]) -> dict[str, Any]:
    addresses: list[dict[str, Any]] = list(item.get("ip-addresses", []))
    result: dict[str, Any] = {
        "name": item.get("name"),
        "hwaddr": item.get("hardware-address"),
        "hardware-address": item.get("hardware-address"),
        "ip-addresses": addresses,
    }
    for address in addresses:
        key = "inet" if address.get("ip-address-type") == "ipv4" else "inet6"
        result.setdefault(key, f"{address.get('ip-address')}/{address.get('prefix')}")
    return result


index(ONE + "/firewall", "name", "rules", "aliases", "ipset", "refs", "options")
