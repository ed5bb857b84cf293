"""Container configuration: how PVE parses and prints it, and who may change what."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from . import common, volumes
from .errors import denied, existing, failure, refuse_if
from .pve import NodeInfo, Pve
from .registry import Call
from .schema import parse_property_string, print_property_string
from .surface import Schema, parameters
from .words import format_size, parse_size

PATH = "/nodes/{node}/lxc/{vmid}/config"
VOLUME = re.compile(r"rootfs|mp\d+")
Fields = dict[str, Any]
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "kvm", "net/tun")
FOLDERS = ("disk", "mapper", "pts", "shm")
NVIDIA = ("nvidiactl", "nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-caps/nvidia-cap1",
          "nvidia-caps/nvidia-cap2")  # fmt: skip


def options() -> dict[str, Schema]:
    """The schema of every container option."""
    return parameters("PUT", PATH)


def is_option(name: str) -> bool:
    """Whether a name is a container option (node, vmid, delete, ... are not)."""
    return name in options() and name not in ("node", "vmid", "delete", "revert", "digest")


def parse_net(text: str) -> Fields:
    """The fields of netN."""
    return parse_property_string(options()["net0"]["format"], text)


def print_net(text: str, fresh: bool = False) -> str:
    """netN as PVE stores it: with its type and an address of its own, a new one for a copy."""
    fields = parse_net(text)
    fields.setdefault("type", "veth")
    if fresh or not fields.get("hwaddr"):
        fields["hwaddr"] = common.new_mac()
    return print_property_string(options()["net0"]["format"], fields)


def parse_volume(key: str, text: str) -> Fields:
    """The fields of rootfs or mpN; `type` says volume, bind or device."""
    fields = parse_property_string(options()["rootfs" if key == "rootfs" else "mp0"]["format"], text)
    path = str(fields["volume"])
    fields["type"] = "device" if path.startswith("/dev/") else "bind" if path.startswith("/") else "volume"
    return fields


def check_id_maps(text: str) -> None:
    """Raises when two entries of a mount point's idmap overlap, in the container or on the disk."""
    entries = [tuple(entry.split(":")) for entry in text.split(";")] if text != "passthrough" else []
    for kind in "ug":
        for side, place in (("container", 1), ("host", 2)):
            ranges = sorted((e for e in entries if e[0] == kind), key=lambda e: int(e[place]))
            for before, entry in pairwise(ranges):
                start = int(entry[place])
                if int(before[place]) + int(before[3]) > start:
                    also = f"{side} {kind}id {start} is also mapped by entry '{' '.join(before)}'"
                    raise failure(f"invalid map entry '{' '.join(entry)}': {also}")


def devices(node: NodeInfo) -> set[str]:
    """The device files of the node that a container may be given: what every node has, and those of its GPUs."""
    found = {f"/dev/{name}" for name in DEVICES}
    vendors = [gpu.id.partition(":")[0].lower() for gpu in node.gpus]
    for number in range(len(vendors) + 1):  # one more than there are GPUs: the processor's own graphics
        found |= {f"/dev/dri/card{number}", f"/dev/dri/renderD{128 + number}"}
    if "10de" in vendors:
        found |= {f"/dev/nvidia{number}" for number in range(vendors.count("10de"))}
        found |= {f"/dev/{name}" for name in NVIDIA}
    if "1002" in vendors:
        found.add("/dev/kfd")
    return found


def check_device(node: NodeInfo, value: str) -> None:
    """Raises unless devN names a device of the node."""
    fields = parse_property_string(options()["dev0"]["format"], value)
    asked = existing(fields.get("path") or None, "Path has to be defined")
    path, known = re.sub("/+", "/", asked), devices(node)
    if path in known:
        return
    refuse_if(any(path.startswith(f"{device}/") for device in known), f"Error accessing device {asked}")
    folder = path.rstrip("/") + "/"
    if folder[len("/dev/") : -1] in FOLDERS or any(device.startswith(folder) for device in known):
        raise failure(f"{asked} is not a device")
    raise failure(f"Device {asked} does not exist")


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
    for key, value in (*new.items(), *((key, None) for key in delete)):
        _check_option(call, vmid, pool, old, key, value, unprivileged)


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
        call.check(f"/vms/{vmid}", "VM.Config.Options")
    else:
        common.check_vm(call, vmid, pool, "VM.Config.Options")


def _check_volume(call: Call, vmid: int, key: str, value: str) -> None:
    fields = parse_volume(key, value)
    refuse_if(fields["type"] != "volume", denied(f"mount point type {fields['type']} is only allowed for root@pam"))
    fresh = volumes.NEW_DISK.fullmatch(fields["volume"])
    if fresh:
        call.check(f"/storage/{fresh[1]}", "Datastore.AllocateSpace")
    else:
        volumes.check_access(call, vmid, fields["volume"], "rootdir")


def _check_features(
    call: Call, vmid: int, pool: str | None, old: str | None, new: str | None, unprivileged: bool
) -> None:
    refuse_if(not unprivileged, denied("changing feature flags for privileged container is only allowed for root@pam"))
    before, after = features(old), features(new)
    changed = {name for name in {*before, *after} if before.get(name, "") != after.get(name, "")}
    refuse_if(changed - {"nesting"}, denied("changing feature flags (except nesting) is only allowed for root@pam"))
    if changed:
        common.check_vm(call, vmid, pool, "VM.Allocate")


def check_hookscript(pve: Pve, volid: str) -> None:
    """Raises unless a hook script is a snippet that exists."""
    refuse_if(volumes.named(pve, volid).kind != "snippets", f"'{volid}' is not in the snippets directory")
    refuse_if(not volumes.exists(pve, volid), f"script '{volid}' does not exist")
    path = volumes.file_path(pve, volid)
    refuse_if(path.is_file() and not path.stat().st_mode & 0o111, f"script '{volid}' is not executable")
