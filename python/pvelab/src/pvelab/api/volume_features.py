"""What volumes can do by the type of their storage: formats, snapshots, base images, linked clones, new owners."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from . import lxc_config, qemu_config, volumes
from .errors import existing, failure
from .formats import DRIVES
from .guestconf import GuestConf, Values
from .pve import Pve
from .tables import table

FEATURES: dict[str, dict[str, dict[str, str]]] = table("volume features")  # by storage type, `files` for all with files
FORMATS: dict[str, list[str]] = {kind: words.split() for kind, words in table("volume formats").items()}
DRIVE_KINDS = (("ide", 4), ("scsi", 31), ("virtio", 16), ("sata", 6))
DRIVE_NAMES = [*(f"{kind}{n}" for kind, count in DRIVE_KINDS for n in range(count)), "efidisk0", "tpmstate0"]


def each(kind: str, values: Values) -> Iterator[tuple[str, lxc_config.Fields, str]]:
    """Key, fields and volume of every disk of a configuration, in PVE's order; CD-ROMs are left out."""
    names = ["rootfs", *(f"mp{n}" for n in range(256))] if kind == "lxc" else DRIVE_NAMES
    for key in names:
        if key not in values:
            continue
        if kind == "lxc":
            fields = lxc_config.parse_volume(key, values[key])
            yield key, fields, str(fields["volume"])
            continue
        drive = qemu_config.parse_drive(key, values[key])
        if drive and not qemu_config.is_cdrom(drive):
            yield key, drive, str(drive["file"])


def printed(kind: str, key: str, fields: lxc_config.Fields, volid: str) -> str:
    """A disk's stored text with another volume."""
    if kind == "lxc":
        return lxc_config.print_volume(key, {**fields, "volume": volid})
    return qemu_config.print_drive({**fields, "file": volid})


def format_of(pve: Pve, volid: str) -> str:
    """The format of a volume, as its name says."""
    known = pve.volumes.data.get(volid)
    return str(known["format"]) if known else volumes.named(pve, volid).format


def picked_format(pve: Pve, sid: str, hint: str | None) -> str:
    """The hinted format where the storage has it, else the storage's own."""
    config = volumes.storage(pve, sid)
    valid = FORMATS.get(config["type"], ("raw",))
    return str(hint) if hint in valid else str(config.get("format") or "raw")


def has(pve: Pve, feature: str, volid: str, snapshot: str | None = None, container: bool = False) -> bool:
    """Whether a volume (or a snapshot of it) can be snapshotted, cloned, copied, renamed or made a base image."""
    if volid.startswith("/"):
        return False
    config, found = volumes.storage(pve, volumes.split(volid)[0]), volumes.named(pve, volid)
    file_based = config["type"] in volumes.FILE_BASED
    if feature == "clone" and container and file_based:
        return False  # a linked clone would be qcow2, which no container can use
    known = FEATURES.get("files" if file_based else config["type"], {})
    where = "snap" if snapshot else "base" if found.base else "current"
    return format_of(pve, volid) in known.get(feature, {}).get(where, "").split()


def all_have(pve: Pve, feature: str, kind: str, values: Values, snapshot: str | None = None) -> bool:
    """Whether every disk of a configuration has a feature."""
    return all(has(pve, feature, volid, snapshot, kind == "lxc") for _, _, volid in each(kind, values))


def referenced(conf: GuestConf) -> list[str]:
    """The volumes that a guest's configuration names: disks, unused ones, pending ones and saved states."""
    found: list[str] = []
    for values in (conf.values, conf.pending):
        found += [volid for _, _, volid in each(conf.kind, values)]
        found += [text.partition(",")[0] for key, text in sorted(values.items()) if key.startswith("unused")]
    found += [v["vmstate"] for v in (conf.values, *conf.snapshots.values()) if v.get("vmstate")]
    if conf.kind == "qemu":
        for key, text in sorted(conf.values.items()):
            drive = qemu_config.parse_drive(key, text) if DRIVES.fullmatch(key) else None
            if drive and qemu_config.is_cloudinit(drive):
                found.append(str(drive["file"]))
    return [volid for volid in dict.fromkeys(found) if not volid.startswith("/")]


def in_snapshot(conf: GuestConf, volid: str) -> bool:
    """Whether a snapshot of the guest holds the volume."""
    return any(volid == found for values in conf.snapshots.values() for _, _, found in each(conf.kind, values))


def owner(pve: Pve, volid: str) -> int | None:
    """The guest that a volume's name belongs to."""
    return volumes.named(pve, volid).owner


def base_in_use(pve: Pve, volid: str) -> bool:
    """Whether a linked clone lives on this base image."""
    known = pve.volumes.data.copy()
    return any(found.startswith(f"{volid}/") or entry.get("base") == volid for found, entry in known.items())


def free(pve: Pve, volid: str) -> None:
    """Removes a volume; a base image with linked clones stays, with PVE's error."""
    if base_in_use(pve, volid):
        raise failure(f"base volume '{volumes.split(volid)[1]}' is still in use by linked clones")
    volumes.release(pve, volid)


def _replace(pve: Pve, old: str, new: str, **changes: object) -> str:
    with pve.volumes.changed():
        data = {k: v for k, v in pve.volumes.data.items() if k != old}
        pve.volumes.data = {**data, new: {**pve.volumes.data.get(old, {"size": 0}), **changes}}
    return new


def make_base(pve: Pve, volid: str) -> str:
    """Turns a volume into a base image and returns its new id."""
    found = existing(re.fullmatch(r"(.*[:/])(vm|subvol)(-[^/:]+)", volid), "create_base not possible with base image")
    return _replace(pve, volid, f"{found[1]}{'basevol' if found[2] == 'subvol' else 'base'}{found[3]}")


def link(pve: Pve, volid: str, vmid: int) -> str:
    """Makes a linked clone of a base image for another guest."""
    sid, name = volumes.split(volid)
    file_based = volumes.storage(pve, sid)["type"] in volumes.FILE_BASED
    entry = pve.volumes.data.get(volid, {"size": 0})
    kind = "qcow2" if file_based else str(entry.get("format", "raw"))
    with pve.volumes.changed():
        fresh = volumes.split(volumes.name_for(pve, sid, vmid, "", kind))[1]
        own = f"{name}/{fresh}" if volumes.storage(pve, sid)["type"] != "lvmthin" else fresh
        kept = {**entry, "vmid": vmid, "format": kind, "base": volid}
        pve.volumes.data = {**pve.volumes.data, f"{sid}:{own}": kept}
    return f"{sid}:{own}"


def say_copied(size: int, log: Callable[[str], None]) -> None:
    """The lines that end a copy of a disk image."""
    for done, percent in ((0, "0.00"), (size, "100.00")):
        log(f"transferred {_readable(done)} of {_readable(size)} ({percent}%)")


def _readable(size: int) -> str:
    units, number, unit = ("B", "KiB", "MiB", "GiB", "TiB"), float(size), 0
    while number >= 1024 and unit < len(units) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f} {units[unit]}"
