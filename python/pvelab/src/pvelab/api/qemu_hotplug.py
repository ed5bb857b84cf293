"""Which changes of a running virtual machine take effect at once, and which wait for its restart."""

from __future__ import annotations

import re

from .formats import DRIVES
from .guestconf import GuestConf
from .qemu_config import FASTPLUG, Fields, is_cdrom, options, parse_drive, parse_net
from .schema import parse_property_string
from .words import split_list, truth

FIXED_CARD = ("model", "macaddr", "queues", "mtu")
FIXED_DRIVE = ("aio", "discard", "iothread", "queues", "product", "cache", "ssd", "vendor", "ro")
WINDOWS = re.compile(r"win(8|1[01])|wvista|win7|w2k\w*|wxp")


def features(conf: GuestConf) -> set[str]:
    """What `hotplug` allows: network, disk, usb, cpu, memory, cloudinit."""
    text = conf.values.get("hotplug", "1")
    return set() if text == "0" else {"network", "disk", "usb"} if text == "1" else set(split_list(text))


def windows(ostype: str | None) -> bool:
    """Whether an `ostype` is a Windows."""
    return bool(ostype) and WINDOWS.fullmatch(str(ostype)) is not None


def goes_live(conf: GuestConf, key: str) -> bool:
    """Whether the pending change of an option can be made while the machine runs."""
    old, new, allowed = conf.values.get(key), conf.pending.get(key), features(conf)
    if key in FASTPLUG or key.startswith("ipconfig") or key in ("cpuunits", "cpulimit"):
        return True
    if key == "hotplug":
        return not re.search("cpu|memory", f"{new or ''} {old or ''}")
    if key == "balloon":
        return old != "0" if new is None else (old != "0") == (new != "0")
    if key == "agent":
        return old is not None and new is not None and _same_agent(old, new)
    if re.fullmatch(r"net\d+", key):
        return "network" in allowed or (bool(old and new) and _soft_card(parse_net(str(old)), parse_net(str(new))))
    if DRIVES.fullmatch(key):
        return _drive(key, old, new, "disk" in allowed)
    if key.startswith("usb"):
        ostype = conf.values.get("ostype")
        return "usb" in allowed and (ostype == "l26" or ostype in ("win8", "win10", "win11"))
    return {"tablet": "usb", "vcpus": "cpu", "memory": "memory"}.get(key) in allowed


def _same_agent(old: str, new: str) -> bool:
    before, after = (_enabled(parse_property_string(options()["agent"]["format"], text)) for text in (old, new))
    return before == after


def _enabled(fields: Fields) -> Fields:
    on = truth(fields.get("enabled"))
    return {k: v for k, v in fields.items() if k != "fstrim_cloned_disks"} if on else {}


def _soft_card(old: Fields, new: Fields) -> bool:
    same = all(str(old.get(name, "")) == str(new.get(name, "")) for name in FIXED_CARD)
    return same and bool(old.get("bridge") and new.get("bridge"))


def _drive(key: str, old: str | None, new: str | None, allowed: bool) -> bool:
    if key in ("efidisk0", "tpmstate0"):
        return False
    before, after = parse_drive(key, old) if old else None, parse_drive(key, new) if new else None
    if before and after and is_cdrom(before) and is_cdrom(after):
        return True
    if before and after and before.get("file") == after.get("file"):
        return all(before.get(name) == after.get(name) for name in FIXED_DRIVE)
    return allowed and not key.startswith(("ide", "sata"))


def media_changed(key: str, old: str, new: str) -> bool:
    """Whether a drive would turn from a disk into a CD-ROM or back, which a running machine refuses."""
    return is_cdrom(parse_drive(key, old) or {}) != is_cdrom(parse_drive(key, new) or {})
