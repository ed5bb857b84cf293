"""Virtual machine configuration: who may change what, drives and cards, what waits for a restart."""

from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import unquote

from . import common, lxc_config, volumes
from .errors import ApiError, bad, bad_field, existing, failure, refuse_if
from .formats import DRIVES
from .guestconf import GuestConf
from .registry import Call
from .schema import parse_property_string, print_property_string
from .surface import Schema, named_format, parameters
from .tables import table
from .words import format_size, parse_size, truth

PATH = "/nodes/{node}/qemu/{vmid}/config"
Fields = dict[str, Any]
NEW_DISK = re.compile(r"(?:([^/:\s]+):)?(\d+(?:\.\d+)?)")
CLOUDINIT = re.compile(r".*[:/](?:vm-\d+-)?cloudinit(?:\.(?:raw|qcow2|vmdk))?")
NOT_OPTIONS = {
    "node", "vmid", "digest", "background_delay", "skip_cloud_init", "import-working-storage", "skiplock", "delete",
    "revert", "force",
}  # fmt: skip
OPTIONS = table("machine options")
CLOUD = set(OPTIONS["cloud"].split())
NEEDS: dict[str, str] = {key: priv for priv, keys in OPTIONS["privileges"].items() for key in keys.split()}
FASTPLUG = set(OPTIONS["fast"].split()) | CLOUD
DIRECTIONS = ("", "_rd", "_wr")
REQUIRES = {  # limits of a drive that need another one
    option: needed
    for d in DIRECTIONS
    for option, needed in (
        (f"mbps{d}_max", f"mbps{d}"),
        (f"bps{d}_max_length", f"mbps{d}_max"),
        (f"iops{d}_max_length", f"iops{d}_max"),
    )
}


def options() -> dict[str, Schema]:
    """The schema of every option of a virtual machine."""
    return parameters("PUT", PATH)


def is_option(name: str) -> bool:
    """Whether a name is an option of a virtual machine."""
    return (name in options() and name not in NOT_OPTIONS) or name in ("lock", "vmstate", "meta")


def is_drive(key: str) -> bool:
    """Whether a key is a drive."""
    return bool(DRIVES.fullmatch(key))


def option_format(key: str) -> dict[str, Schema]:
    """The fields of an option that is a property string."""
    found = options()[key]["format"]
    return found if isinstance(found, dict) else named_format(found) or {}


def _drive_format() -> dict[str, Schema]:
    """Fields of any kind of drive, for printing."""
    merged: dict[str, Schema] = {}
    for key in ("efidisk0", "tpmstate0", "ide0", "sata0", "virtio0", "scsi0"):
        merged |= option_format(key)
    return merged


def parse_drive(key: str, text: str) -> Fields | None:
    """The fields of a drive; None when they contradict each other."""
    try:
        fields = parse_property_string(option_format(key), text)
    except ValueError:
        return None
    if not _limits(fields):
        return None
    if fields.get("media") == "cdrom" and (
        truth(fields.get("snapshot")) or fields.get("format") or key.startswith("virtio")
    ):
        return None
    limits = (("mbps_rd", "mbps"), ("mbps_wr", "mbps"), ("iops_rd", "iops"), ("iops_wr", "iops"))
    if any(fields.get(part) and fields.get(whole) for part, whole in limits):
        return None
    if "size" in fields:
        fields["size"] = parse_size(str(fields["size"]))
    return fields


def _limits(fields: Fields) -> bool:
    """Rewrites a drive's limits as PVE does; False where one lacks another that it needs."""
    for option in (f"bps{d}" for d in DIRECTIONS):
        if fields.pop(option, None) is not None:
            if fields.get(f"m{option}") is not None:
                return False
            fields[f"m{option}"] = "0.000"  # PVE converts whether there is a limit, one byte, instead of the limit
    return all(truth(fields.get(needed)) for option, needed in REQUIRES.items() if truth(fields.get(option)))


def print_drive(fields: Fields) -> str:
    """A drive as PVE stores it."""
    known = dict(fields)
    if isinstance(known.get("size"), int):
        known["size"] = format_size(known["size"])
    return print_property_string(_drive_format(), known)


def is_cdrom(fields: Fields) -> bool:
    """Whether a drive is a CD-ROM (a cloud-init drive is one, too)."""
    return fields.get("media") == "cdrom"


def is_cloudinit(fields: Fields) -> bool:
    """Whether a drive holds cloud-init data."""
    return bool(CLOUDINIT.fullmatch(str(fields.get("file", ""))))


def parse_net(text: str) -> Fields:
    """The fields of netN."""
    return parse_property_string(option_format("net0"), text)


def print_net(text: str, fresh: bool = False) -> str:
    """netN as PVE stores it, with an address of its own, a new one for a copy."""
    fields = parse_net(text)
    if fresh or not fields.get("macaddr"):
        fields["macaddr"] = common.new_mac()
    return print_property_string(option_format("net0"), fields)


def check_ssh_keys(new: dict[str, str]) -> None:
    """Raises unless `sshkeys` holds OpenSSH public keys."""
    if "sshkeys" in new:
        common.check_keys(unquote(new["sshkeys"]))


def resolve_cdrom(new: dict[str, str]) -> None:
    """`cdrom` is another name of ide2."""
    value = new.pop("cdrom", "")
    if value:
        new["ide2"] = value if "media=" in value else f"{value},media=cdrom"


def clean(call: Call, new: dict[str, str], create: bool) -> None:
    """Rewrites what PVE rewrites before it stores: cdrom, drives, networks, shares, generated ids."""
    resolve_cdrom(new)
    for key in sorted(k for k in new if is_drive(k)):
        new[key] = _clean_drive(call, key, new[key])
    for key, value in new.items():
        if re.fullmatch(r"net\d+", key):
            new[key] = print_net(value)
        elif key == "cpuunits":
            new[key] = common.cpu_shares(value)
        elif key == "vmgenid" and value == "1":
            new[key] = str(uuid.uuid4())
        elif key == "hookscript" and not create:
            try:
                lxc_config.check_hookscript(call.pve, value)
            except ApiError as error:
                raise bad_field(key, error.message) from None


def _clean_drive(call: Call, key: str, text: str) -> str:
    fields = existing(parse_drive(key, text), bad_field(key, "unable to parse drive options"))
    file = str(fields["file"])
    if fields.get("import-from"):
        fresh = NEW_DISK.fullmatch(file)
        if not fresh or float(fresh[2]) != 0:
            text = "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>"
            raise bad_field(key, text)
        required = {"efidisk0": ("efitype", "pre-enrolled-keys"), "tpmstate0": ("version",)}.get(key, ())
        for name in required:
            if fields.get(name) is None:
                raise bad_field(key, f"need to specify '{name}' when using 'import-from'")
    # A path below a storage would be its volume on a node: here that is named by its id alone.
    unknown = file.startswith("/") and not re.match(r"/dev/.|[^:]+:.", file)
    refuse_if(unknown, bad_field(key, f"unable to associate path '{file}' to any storage"))
    if file in ("cdrom", "none"):
        fields.setdefault("media", "cdrom")
    found = volumes.VOLUME_ID.fullmatch(file)
    if found and not NEW_DISK.fullmatch(file) and found[2] != "cloudinit":
        wrong = volumes.named(call.pve, file).kind == "iso" and fields.get("media") != "cdrom"
        refuse_if(wrong, bad_field(key, "explicit 'media=cdrom' is required for iso images"))
    return print_drive(fields)


def check_storage(call: Call, vmid: int, new: dict[str, str], default: str | None) -> None:
    """Raises unless the caller may use the storages and volumes that drives name."""
    for key in sorted(k for k in new if is_drive(k)):
        fields = parse_drive(key, new[key])
        if fields is None:
            continue  # refused when it is rewritten
        file = str(fields["file"])
        fresh = NEW_DISK.fullmatch(file)
        if file == "cdrom":
            call.check("/", "Sys.Console")
        elif file in ("none", "cloudinit") or file.endswith(":cloudinit"):
            pass
        elif fresh and not is_cdrom(fields):
            sid = existing(fresh[1] or default, "no storage ID specified (and no default storage)")
            call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
            if "images" not in volumes.contents(volumes.storage(call.pve, sid)):
                raise bad(storage=f"storage '{sid}' does not support vm images")
        else:
            _check_volume(call, vmid, key, file)
        if fields.get("import-from"):
            _check_source(call, vmid, key, str(fields["import-from"]))
    if "vmstatestorage" in new:
        call.check(f"/storage/{new['vmstatestorage']}", "Datastore.AllocateSpace")


def _check_volume(call: Call, vmid: int, key: str, volid: str) -> None:
    volumes.check_access(call, vmid, volid)
    if not volid.startswith("/") and volumes.named(call.pve, volid).kind not in ("images", "iso"):
        raise bad_field(key, "content type needs to be 'images' or 'iso'")


def _check_source(call: Call, vmid: int, key: str, source: str) -> None:
    if not source.startswith("/"):
        parsed = volumes.named(call.pve, source)
        if parsed.kind not in ("images", "import"):
            raise bad_field(key, f"{source} has wrong type '{parsed.kind}' - needs to be 'images' or 'import'")
        if parsed.owner:
            call.check(f"/vms/{parsed.owner}", "VM.Clone")
            return
    volumes.check_access(call, vmid, source)


def check_modify(call: Call, vmid: int, pool: str | None, keys: list[str]) -> None:
    """Raises unless the caller may change these options at all (values are looked at elsewhere)."""
    if call.is_root:
        return
    for key in keys:
        if is_drive(key) or key == "cdrom" or key == "tags":
            continue
        if re.fullmatch(r"(unused|serial|usb|hostpci|virtiofs)\d+", key):
            continue
        if re.fullmatch(r"numa\d+", key):
            common.check_vm(call, vmid, pool, "VM.Config.CPU")
        elif re.fullmatch(r"net\d+", key):
            common.check_vm(call, vmid, pool, "VM.Config.Network")
        elif key in CLOUD or re.fullmatch(r"ipconfig\d+", key):
            _check_cloud(call, vmid, pool)
        elif key == "vmstate":
            common.check_vm(call, vmid, pool, "VM.Config.Disk", "VM.PowerMgmt")
        elif key in NEEDS:
            common.check_vm(call, vmid, pool, NEEDS[key])
            if key == "startup":
                call.check("/", "Sys.Modify")
        else:
            raise failure(f"only root can set '{key}' config")


def _check_cloud(call: Call, vmid: int, pool: str | None) -> None:
    wanted = ("VM.Config.Cloudinit", "VM.Config.Network")
    if pool and call.allowed(f"/pool/{pool}", *wanted, any_of=True):
        return
    call.check(f"/vms/{vmid}", *wanted, any_of=True)


def check_drive_change(call: Call, vmid: int, key: str, value: str) -> None:
    """Raises unless the caller may change this drive of an existing machine."""
    fields = parse_drive(key, value) or {}
    if is_cloudinit(fields) or str(fields.get("file", "")).endswith(":cloudinit"):
        common.check_vm(call, vmid, None, "VM.Config.Cloudinit", "VM.Config.CDROM")
    elif is_cdrom(fields):
        common.check_vm(call, vmid, None, "VM.Config.CDROM")
    else:
        common.check_vm(call, vmid, None, "VM.Config.Disk")


def check_bridges(call: Call, values: dict[str, str]) -> None:
    """Raises unless the caller may use every bridge that these options name."""
    for key in sorted(k for k in values if re.fullmatch(r"net\d+", k)):
        net = parse_net(values[key])
        common.check_bridge(call, net.get("bridge"), net.get("tag"), net.get("trunks"))


def boot_devices(values: dict[str, str]) -> list[str]:
    """The default boot order: first disk, first CD-ROM, first network card."""
    kinds = (("ide", 4), ("scsi", 31), ("virtio", 16), ("sata", 6))
    names = [f"{kind}{n}" for kind, count in kinds for n in range(count)]
    drives = [(name, parse_drive(name, values[name]) or {}) for name in names if name in values]
    found = [next((n for n, f in drives if is_cdrom(f) == wanted), None) for wanted in (False, True)]
    found.append(next((f"net{n}" for n in range(32) if f"net{n}" in values), None))
    return [name for name in found if name]


def print_boot(devices: list[str]) -> str:
    """`boot` with an order."""
    return f"order={';'.join(devices)}" if devices else " "


def boot_order(values: dict[str, str]) -> list[str]:
    """The devices of `boot`."""
    text = values.get("boot", "")
    return text.partition("order=")[2].split(";") if "order=" in text else []


def agent_enabled(conf: GuestConf) -> bool:
    """Whether the machine's `agent` option is on."""
    text = conf.values.get("agent")
    return text is not None and truth(parse_property_string(options()["agent"]["format"], text).get("enabled"))


def check_memory(conf: GuestConf, new: dict[str, str]) -> None:
    """Raises when the balloon is larger than the memory."""
    if not new.get("memory") and "balloon" not in new:
        return
    memory = new.get("memory") or conf.pending.get("memory") or conf.values.get("memory") or "512"
    balloon = new.get("balloon") or conf.pending.get("balloon") or conf.values.get("balloon") or "0"
    refuse_if(int(balloon) > memory_mib(memory), "balloon value too large (must be smaller than assigned memory)")


def memory_mib(text: str | None) -> int:
    """MiB of `memory`, which is a property string with `current` as its only field."""
    return int((text or "512").removeprefix("current=").split(",")[0])
