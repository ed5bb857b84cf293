"""Changing a container's configuration: what PVE checks, rewrites, applies or postpones."""

from __future__ import annotations

import re

from . import common, lxc_config, volume_features, volumes
from .errors import ApiError, bad, failure, refuse_if
from .guestconf import GuestConf, used_volumes
from .pve import Pve
from .registry import Call
from .words import split_list, truth

FASTPLUG = {"description", "onboot", "startup", "protection", "hostname", "hookscript", "cores", "tags", "lock"}
HOTPLUG = re.compile(r"net\d+|memory|swap|cpulimit|cpuunits")


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
    conf.drop_settled()
    errors: dict[str, str] = {}
    if running:
        _hotplug(call, conf, touched, errors)
    else:
        apply_pending(call, conf, touched, errors)
    refuse_if(errors, ApiError(400, "Parameter verification failed.\n", errors))
    return conf


def _mark_deleted(conf: GuestConf, delete: list[str]) -> set[str]:
    touched: set[str] = set()
    for key in delete:
        if key not in conf.values and key not in conf.pending:
            continue
        touched.add(key)
        refuse_if(key in ("memory", "rootfs", "ostype"), f"unable to delete required option '{key}'")
        if re.fullmatch(r"(unused|mp)\d+", key):
            common.check_protection(conf, f"can't remove CT {conf.vmid} drive '{key}'")
        refuse_if(key == "unprivileged", f"unable to delete read-only option: '{key}'")
        conf.deleted[key] = False  # a pending value stays: it is applied after the deletion
    return touched


def _checked_value(pve: Pve, conf: GuestConf, key: str, value: str) -> str:
    if lxc_config.VOLUME.fullmatch(key):
        common.check_protection(conf, f"can't update CT {conf.vmid} drive '{key}'")
        fields = lxc_config.parse_volume(key, value)
        if fields["type"] == "volume":
            sid = volumes.split(fields["volume"])[0]
            if "rootdir" not in volumes.contents(volumes.storage(pve, sid)):
                raise failure(f"storage '{sid}' does not allow content type 'rootdir' (Container)")
        lxc_config.check_id_maps(fields.get("idmap", "passthrough"))
    elif key == "hookscript":
        lxc_config.check_hookscript(pve, value)
    elif key in ("nameserver", "searchdomain"):
        return " ".join(split_list(value))
    elif key == "unprivileged":
        raise failure(f"unable to modify read-only option: '{key}'")
    elif key == "tags":
        return common.unique_tags(value) or common.NO_TAGS
    elif re.fullmatch(r"net\d+", key):
        _check_net(pve, key, lxc_config.parse_net(value))
    elif re.fullmatch(r"dev\d+", key):
        lxc_config.check_device(pve.node, value)
    elif key == "cpuunits":
        return common.cpu_shares(value)
    elif key == "description" and not value.endswith("\n"):
        return value + "\n"
    return value


def _check_net(pve: Pve, key: str, net: lxc_config.Fields) -> None:
    if net.get("mtu"):
        _check_mtu(pve, key, net)
    if truth(net.get("host-managed")) and net.get("ip6") == "auto" and not truth(net.get("link_down")):
        raise failure(f"{key}: SLAAC is not supported for host-managed network configuration.")


def _check_mtu(pve: Pve, key: str, net: lxc_config.Fields) -> None:
    largest = bridge_mtu(pve, str(net.get("bridge", "")))
    if int(net.get("mtu", 0)) > largest:
        raise failure(f"{key}: MTU size '{net['mtu']}' is bigger than bridge MTU '{largest}'")


def bridge_mtu(pve: Pve, bridge: str) -> int:
    """The MTU of a bridge of the node."""
    refuse_if(bridge not in common.bridges(pve), f"bridge '{bridge}' does not exist")
    return int(pve.network.data["active"][bridge].get("mtu", 1500))


def check_built(pve: Pve, conf: GuestConf) -> None:
    """Raises what keeps PVE from writing the container's lxc configuration: lost devices and bridges, large MTUs."""
    if common.is_template(conf):
        return
    for key in sorted(k for k in conf.values if re.fullmatch(r"dev\d+", k)):
        lxc_config.check_device(pve.node, conf.values[key])
    refuse_if("rootfs" not in conf.values, "missing 'rootfs' configuration")
    for key in sorted(k for k in conf.values if re.fullmatch(r"net\d+", k)):
        net = lxc_config.parse_net(conf.values[key])
        _check_mtu(pve, key, net)
        if truth(net.get("host-managed")) and net.get("ip6") == "auto" and not truth(net.get("link_down")):
            raise failure(f"{key}: SLAAC is not supported for host-managed network configuration")


def check_volumes(pve: Pve, conf: GuestConf) -> None:
    """Raises when a volume of the container is gone."""
    mounts = volume_features.each("lxc", conf.values)
    volumes.activate(pve, *(volid for _, fields, volid in mounts if fields["type"] == "volume"))


def apply_pending(
    call: Call, conf: GuestConf, touched: set[str] | None, errors: dict[str, str], running: bool = False
) -> None:
    """Makes pending changes current (the guest does not run, or starts now, or they need no restart)."""
    for key in sorted(conf.deleted):
        if touched is None or key in touched:
            _drop(call, conf, key)
    conf.drop_settled()
    for key in sorted(conf.pending):
        if touched is not None and key not in touched:
            continue
        try:
            old = conf.values.get(key)
            conf.values[key] = _settled(call, conf, key, conf.pending[key])
            del conf.pending[key]
            _keep_volume(conf, key, old)
        except ApiError as error:
            what = f"unable to hotplug {key}:" if running else f"unable to apply pending change {key} :"
            errors[key] = f"{what} {error}\n"


def _drop(call: Call, conf: GuestConf, key: str) -> None:
    value = conf.values.pop(key, None)
    conf.deleted.pop(key, None)
    _keep_volume(conf, key, value)
    if value is not None and re.fullmatch(r"unused\d+", key):
        _free_unused(call.pve, conf, value)


def _keep_volume(conf: GuestConf, key: str, old: str | None) -> None:
    """Keeps the volume of a mount point that was taken away or replaced."""
    if old is not None and re.fullmatch(r"mp\d+", key):
        fields = lxc_config.parse_volume(key, old)
        if fields["type"] == "volume":
            add_unused(conf, fields["volume"])


def _free_unused(pve: Pve, conf: GuestConf, volid: str) -> None:
    if not volume_features.in_snapshot(conf, volid) and volume_features.owner(pve, volid) == conf.vmid:
        volume_features.free(pve, volid)


def add_unused(conf: GuestConf, volid: str) -> None:
    """Keeps a volume that is no longer used as unusedN."""
    if volid in conf.values.values() or volid in used_volumes(conf):
        return
    free = next((n for n in range(256) if f"unused{n}" not in conf.values), None)
    if free is None:
        raise failure("Too many unused volumes - please delete them first.")
    conf.values[f"unused{free}"] = volid


def _settled(call: Call, conf: GuestConf, key: str, value: str) -> str:
    if re.fullmatch(r"net\d+", key):
        return lxc_config.print_net(value)
    if re.fullmatch(r"mp\d+", key):
        return make_volume(call, conf.vmid, key, value, rescan=True)
    return value


def make_volume(call: Call, vmid: int, key: str, value: str, rescan: bool = False) -> str:
    """Allocates what `STORAGE:GiB` asks for and prints the mount point as PVE stores it."""
    fields = lxc_config.parse_volume(key, value)
    fresh = volumes.NEW_DISK.fullmatch(fields["volume"])
    if fresh and fields["type"] == "volume":
        size = int(float(fresh[2]) * 1024) << 20  # whole MiB
        fields["volume"] = volumes.allocate(call, fresh[1], vmid, size, container=True)
        fields["size"] = size
    elif rescan and fields["type"] == "volume" and volumes.exists(call.pve, fields["volume"]):
        fields["size"] = volumes.size_of(call.pve, fields["volume"])
    return lxc_config.print_volume(key, fields)


def disk(conf: GuestConf, key: str) -> lxc_config.Fields:
    """The fields of a disk of a container; a missing one is refused as PVE's parser refuses it."""
    if key not in conf.values:
        text = "property is missing and it is not optional"
        raise ApiError(500, "format error\n", {"volume": text, **({"mp": text} if key.startswith("mp") else {})})
    return lxc_config.parse_volume("mp0" if key.startswith("unused") else key, _with_path(key, conf.values[key]))


def _with_path(key: str, text: str) -> str:
    return f"{text},mp=/" if key.startswith("unused") else text


def _hotplug(call: Call, conf: GuestConf, touched: set[str], errors: dict[str, str]) -> None:
    """Applies what can be changed in a running container; the rest stays pending."""
    candidates = {k for k in {*conf.pending, *conf.deleted} if k in touched}
    instant = {k for k in candidates if k in FASTPLUG or k.startswith("unused")}
    live = {k for k in candidates - instant if HOTPLUG.fullmatch(k)}
    live -= {k for k in live if k in conf.deleted and re.fullmatch(r"net\d\d+", k)}  # only net0 to net9 go at once
    fresh = re.compile(r"(mp|dev)\d+")
    live |= {k for k in candidates if fresh.fullmatch(k) and k not in conf.values and k in conf.pending}
    for key in sorted(k for k in live if k.startswith("net") and k in conf.pending):
        bridge = lxc_config.parse_net(conf.pending[key]).get("bridge")
        if bridge and bridge not in common.bridges(call.pve):
            errors[key] = f"unable to hotplug {key}: bridge '{bridge}' does not exist\n"
    apply_pending(call, conf, (instant | live) - errors.keys(), errors, running=True)
    if live and not errors:
        waiting = call.pve.backend.apply(call.pve.spec(conf), live)
        for key in waiting & set(conf.values):
            conf.pending[key] = conf.values[key]


def check_sets(new: dict[str, str], delete: list[str], revert: list[str]) -> None:
    """Raises a 400 for unknown or contradicting keys of delete and revert."""
    for key in revert:
        refuse_if(not lxc_config.is_option(key), bad(revert=f"unknown option '{key}'"))
        refuse_if(key in new, bad(revert=f"you can't use '-{key}' and '-revert {key}' at the same time"))
    for key in delete:
        refuse_if(not lxc_config.is_option(key), bad(delete=f"unknown option '{key}'"))
        refuse_if(key in new, bad(delete=f"you can't use '-{key}' and -delete {key}' at the same time"))
        refuse_if(key in revert, bad(delete=f"you can't use '-delete {key}' and '-revert {key}' at the same time"))
