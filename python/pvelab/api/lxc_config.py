"""Container configuration: who may change what, and how PVE rewrites, applies or postpones it."""

from __future__ import annotations

import re
from typing import Any

from . import common, volumes
from .errors import ApiError, TaskError, bad, denied, failure
from .guestconf import GuestConf
from .pve import Pve
from .registry import Call
from .schema import parse_property_string, print_property_string
from .surface import Schema, parameters
from .words import format_size, parse_size, split_list, truth

PATH = "/nodes/{node}/lxc/{vmid}/config"
FASTPLUG = {"description", "onboot", "startup", "protection", "hostname", "hookscript", "cores", "tags", "lock"}
HOTPLUG = re.compile(r"net\d+|memory|swap|cpulimit|cpuunits")
VOLUME = re.compile(r"rootfs|mp\d+")
Fields = dict[str, Any]


def options() -> dict[str, Schema]:
    """The schema of every container option."""
    return parameters("PUT", PATH)


def is_option(name: str) -> bool:
    """Whether a name is a container option (node, vmid, delete, ... are not)."""
    return name in options() and name not in ("node", "vmid", "delete", "revert", "digest")


def parse_net(text: str) -> Fields:
    """The fields of netN."""
    return parse_property_string(options()["net0"]["format"], text)


def print_net(pve: Pve, text: str) -> str:
    """netN as PVE stores it: with an address of its own and its type."""
    fields = parse_net(text)
    fields.setdefault("type", "veth")
    if not fields.get("hwaddr"):
        fields["hwaddr"] = common.new_mac(pve)
    return print_property_string(options()["net0"]["format"], fields)


def parse_volume(key: str, text: str) -> Fields:
    """The fields of rootfs or mpN; `type` says volume, bind or device."""
    fields = parse_property_string(options()["rootfs" if key == "rootfs" else "mp0"]["format"], text)
    path = str(fields["volume"])
    fields["type"] = "device" if path.startswith("/dev/") else "bind" if path.startswith("/") else "volume"
    return fields


def print_volume(key: str, fields: Fields) -> str:
    """rootfs or mpN as PVE stores it."""
    known = {name: value for name, value in fields.items() if name != "type"}
    size = known.get("size")
    if size is not None:
        known["size"] = format_size(size if isinstance(size, int) else parse_size(str(size)) or 0)
    return print_property_string(options()["mp0"]["format"], known, ("mp",) if key == "rootfs" else ())


def features(text: str | None) -> Fields:
    """The fields of `features`."""
    return parse_property_string(options()["features"]["format"], text) if text else {}


def check_modify(
    call: Call,
    vmid: int,
    pool: str | None,
    old: dict[str, str] | None,
    new: dict[str, str],
    delete: list[str],
    unprivileged: bool,
) -> None:
    """Raises a 403 unless the caller may set and delete these options."""
    if call.is_root:
        return
    for key in new:
        _check_option(call, vmid, pool, old, key, new[key], unprivileged)
    for key in delete:
        _check_option(call, vmid, pool, old, key, None, unprivileged)


def _check_option(
    call: Call, vmid: int, pool: str | None, old: dict[str, str] | None, key: str, value: str | None, unprivileged: bool
) -> None:
    before = (old or {}).get(key)
    if key in ("cores", "cpuunits", "cpulimit"):
        common.check_vm(call, vmid, pool, "VM.Config.CPU")
    elif VOLUME.fullmatch(key):
        common.check_vm(call, vmid, pool, "VM.Config.Disk")
        if value is not None:
            _check_volume(call, vmid, key, value)
    elif key in ("memory", "swap"):
        common.check_vm(call, vmid, pool, "VM.Config.Memory")
    elif re.fullmatch(r"net\d+", key):
        common.check_vm(call, vmid, pool, "VM.Config.Network")
        for text in (before, value):
            if text:
                net = parse_net(text)
                common.check_bridge(call, net.get("bridge"), net.get("tag"), net.get("trunks"))
    elif re.fullmatch(r"dev\d+", key):
        raise denied("configuring device passthrough is only allowed for root@pam")
    elif key in ("nameserver", "searchdomain", "hostname"):
        common.check_vm(call, vmid, pool, "VM.Config.Network")
    elif key == "features":
        _check_features(call, vmid, pool, before, value, unprivileged)
    elif key == "hookscript":
        raise denied("changing the hookscript is only allowed for root@pam")
    elif key == "tags":
        common.check_tags(call, vmid, before, value)
    else:
        common.check_vm(call, vmid, pool, "VM.Config.Options")


def _check_volume(call: Call, vmid: int, key: str, value: str) -> None:
    fields = parse_volume(key, value)
    if fields["type"] != "volume":
        raise denied(f"mount point type {fields['type']} is only allowed for root@pam")
    fresh = volumes.NEW_DISK.fullmatch(fields["volume"])
    if fresh:
        call.check(f"/storage/{fresh[1]}", "Datastore.AllocateSpace")
    else:
        volumes.check_access(call, vmid, fields["volume"], "rootdir")


def _check_features(
    call: Call, vmid: int, pool: str | None, old: str | None, new: str | None, unprivileged: bool
) -> None:
    if not unprivileged:
        raise denied("changing feature flags for privileged container is only allowed for root@pam")
    before, after = features(old), features(new)
    changed = {name for name in {*before, *after} if before.get(name, "") != after.get(name, "")}
    if changed - {"nesting"}:
        raise denied("changing feature flags (except nesting) is only allowed for root@pam")
    if changed:
        common.check_vm(call, vmid, pool, "VM.Allocate")


def update(
    call: Call, conf: GuestConf, new: dict[str, str], delete: list[str], revert: list[str], running: bool
) -> GuestConf:
    """A copy of the configuration with the changes applied, or pending where a restart is needed."""
    conf = conf.copy()
    for key in revert:
        conf.pending.pop(key, None)
        conf.deleted.pop(key, None)
    touched = _mark_deleted(conf, delete)
    for key in sorted(new):
        conf.pending[key] = _checked_value(call.pve, conf, key, new[key])
        conf.deleted.pop(key, None)
        touched.add(key)
    _cleanup(conf)
    errors: dict[str, str] = {}
    if running:
        _hotplug(call, conf, touched, errors)
    else:
        apply_pending(call, conf, touched, errors)
    if errors:
        raise ApiError(400, "Parameter verification failed.\n", errors)
    return conf


def _mark_deleted(conf: GuestConf, delete: list[str]) -> set[str]:
    touched: set[str] = set()
    for key in delete:
        if key not in conf.values and key not in conf.pending:
            continue
        touched.add(key)
        if key in ("memory", "rootfs", "ostype"):
            raise failure(f"unable to delete required option '{key}'")
        if re.fullmatch(r"(unused|mp)\d+", key):
            common.check_protection(conf, f"can't remove CT {conf.vmid} drive '{key}'")
        if key == "unprivileged":
            raise failure(f"unable to delete read-only option: '{key}'")
        conf.pending.pop(key, None)
        conf.deleted[key] = False
    return touched


def _checked_value(pve: Pve, conf: GuestConf, key: str, value: str) -> str:
    if VOLUME.fullmatch(key):
        common.check_protection(conf, f"can't update CT {conf.vmid} drive '{key}'")
        fields = parse_volume(key, value)
        if fields["type"] == "volume":
            sid = volumes.split(fields["volume"])[0]
            if "rootdir" not in volumes.contents(volumes.storage(pve, sid)):
                raise failure(f"storage '{sid}' does not allow content type 'rootdir' (Container)")
    elif key == "hookscript":
        check_hookscript(pve, value)
    elif key in ("nameserver", "searchdomain"):
        return " ".join(split_list(value))
    elif key == "unprivileged":
        raise failure(f"unable to modify read-only option: '{key}'")
    elif key == "tags":
        return common.unique_tags(pve, value)
    elif re.fullmatch(r"net\d+", key):
        _check_net(key, parse_net(value))
    elif re.fullmatch(r"dev\d+", key):
        fields = parse_property_string(options()["dev0"]["format"], value)
        if not fields.get("path"):
            raise failure(f"Path is not defined for passthrough device {key}")
    elif key == "description" and not value.endswith("\n"):
        return value + "\n"
    return value


def _check_net(key: str, net: Fields) -> None:
    if net.get("mtu") and int(net["mtu"]) > 1500 and not net.get("link_down"):
        raise failure(f"{key}: MTU size '{net['mtu']}' is bigger than bridge MTU '1500'")
    if truth(net.get("host-managed")) and net.get("ip6") == "auto" and not truth(net.get("link_down")):
        raise failure(f"{key}: SLAAC is not supported for host-managed network configuration.")


def check_hookscript(pve: Pve, volid: str) -> None:
    """Raises unless a hook script is a snippet that exists."""
    sid, name = volumes.split(volid)
    if volumes.parse_name(volumes.storage(pve, sid), name).kind != "snippets":
        raise failure(f"'{volid}' is not in the snippets directory")
    if not volumes.exists(pve, volid):
        raise failure(f"script '{volid}' does not exist")


def _cleanup(conf: GuestConf) -> None:
    for key in [k for k, v in conf.pending.items() if conf.values.get(k) == v]:
        del conf.pending[key]
    for key in [k for k in conf.deleted if k not in conf.values]:
        del conf.deleted[key]


def apply_pending(call: Call, conf: GuestConf, touched: set[str] | None, errors: dict[str, str]) -> None:
    """Makes pending changes current (the guest does not run, or starts now)."""
    for key in sorted(conf.deleted):
        if touched is None or key in touched:
            _drop(call, conf, key)
    _cleanup(conf)
    for key in sorted(conf.pending):
        if touched is not None and key not in touched:
            continue
        try:
            conf.values[key] = _settled(call, conf, key, conf.pending[key])
            del conf.pending[key]
        except (ApiError, TaskError) as error:
            text = error.text if isinstance(error, ApiError) else str(error)
            errors[key] = f"unable to apply pending change {key} : {text}\n"


def _drop(call: Call, conf: GuestConf, key: str) -> None:
    value = conf.values.pop(key, None)
    conf.deleted.pop(key, None)
    if value is None:
        return
    if re.fullmatch(r"mp\d+", key):
        fields = parse_volume(key, value)
        if fields["type"] == "volume":
            add_unused(conf, fields["volume"])
    elif re.fullmatch(r"unused\d+", key):
        volumes.release(call.pve, value)


def add_unused(conf: GuestConf, volid: str) -> None:
    """Keeps a volume that is no longer used as unusedN."""
    used = set(conf.values.values())
    if volid in used:
        return
    free = next((n for n in range(256) if f"unused{n}" not in conf.values), None)
    if free is None:
        raise failure("Too many unused volumes - please delete them first.")
    conf.values[f"unused{free}"] = volid


def _settled(call: Call, conf: GuestConf, key: str, value: str) -> str:
    if re.fullmatch(r"net\d+", key):
        return print_net(call.pve, value)
    if re.fullmatch(r"mp\d+", key):
        old = conf.values.get(key)
        if old and parse_volume(key, old)["type"] == "volume":
            volume = parse_volume(key, old)["volume"]
            if volume != parse_volume(key, value)["volume"]:
                add_unused(conf, volume)
        return make_volume(call, conf.vmid, key, value)
    return value


def make_volume(call: Call, vmid: int, key: str, value: str) -> str:
    """Allocates what `STORAGE:GiB` asks for; anything else stays as it is."""
    fields = parse_volume(key, value)
    fresh = volumes.NEW_DISK.fullmatch(fields["volume"])
    if not fresh or fields["type"] != "volume":
        return value
    size = volumes.gib(fresh[2])
    fields["volume"] = volumes.allocate(call, fresh[1], vmid, size, container=True)
    fields["size"] = size
    return print_volume(key, fields)


def _hotplug(call: Call, conf: GuestConf, touched: set[str], errors: dict[str, str]) -> None:
    """Applies what can be changed in a running container; the rest stays pending."""
    candidates = {k for k in {*conf.pending, *conf.deleted} if k in touched}
    instant = {k for k in candidates if k in FASTPLUG or k.startswith("unused")}
    live = {k for k in candidates - instant if HOTPLUG.fullmatch(k)}
    live |= {k for k in candidates if re.fullmatch(r"mp\d+", k) and k not in conf.values and k in conf.pending}
    apply_pending(call, conf, instant | live, errors)
    if live and not errors:
        waiting = call.pve.backend.apply(call.pve.spec(conf), live)
        for key in waiting & set(conf.values):
            conf.pending[key] = conf.values[key]


def check_sets(new: dict[str, str], delete: list[str], revert: list[str]) -> None:
    """Raises a 400 for unknown or contradicting keys of delete and revert."""
    for key in revert:
        if not is_option(key):
            raise bad(revert=f"unknown option '{key}'")
        if key in new:
            raise bad(revert=f"you can't use '-{key}' and '-revert {key}' at the same time")
    for key in delete:
        if not is_option(key):
            raise bad(delete=f"unknown option '{key}'")
        if key in new:
            raise bad(delete=f"you can't use '-{key}' and -delete {key}' at the same time")
        if key in revert:
            raise bad(delete=f"you can't use '-delete {key}' and '-revert {key}' at the same time")
