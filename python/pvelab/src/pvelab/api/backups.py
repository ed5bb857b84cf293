"""Backup archives: what configuration an archive holds."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from . import store
from .errors import refuse_if
from .guestconf import GuestConf, Values, from_text
from .pve import Pve

ARCHIVE = re.compile(r"vzdump-(lxc|openvz|qemu)-.+\.(tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)")
STANDARD = re.compile(r"vzdump-(?:lxc|openvz|qemu)-([1-9]\d{2,8})-(\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d)")


@dataclass(frozen=True)
class Archive:
    """What the file name of a backup says; `vmid` and `ctime` only where it is the usual name."""

    type: str
    extension: str
    vmid: int | None = None
    ctime: int | None = None


def archive_info(name: str) -> Archive | None:
    """Reads the file name of a backup; None when it is no backup's name."""
    found = ARCHIVE.fullmatch(name)
    if not found:
        return None
    usual = STANDARD.fullmatch(name.removesuffix(f".{found[2]}"))
    if not usual:
        return Archive(found[1], found[2])
    try:
        made = int(time.mktime(time.strptime(usual[2], "%Y_%m_%d-%H_%M_%S")))
    except ValueError:
        return Archive(found[1], found[2])
    return Archive(found[1], found[2], int(usual[1]), made)


def owner_of(name: str) -> str | None:
    """The VMID in the name of a backup file, also of an unusual one."""
    found = re.search(r"-([1-9]\d{2,8})-[^/]+\.(?:tgz|(?:tar|vma)(?:\.\w+)?)$", name)
    return found[1] if found else None


def note(pve: Pve, volid: str, *, notes: str | None = None, protected: bool | None = None) -> None:
    """Keeps the notes of a backup or whether it is protected."""
    with pve.cluster.changed():
        table = pve.cluster.data.setdefault("volume_notes", {})
        entry = {**table.get(volid, {})}
        if notes is not None:
            entry["notes"] = notes
        if protected is not None:
            entry["protected"] = int(protected)
        table[volid] = {key: value for key, value in entry.items() if value}
        if not table[volid]:
            del table[volid]


def remove(pve: Pve, volid: str, file: Path) -> None:
    """Removes a backup, or any other file, with all that is kept beside it."""
    for path in (file, config_file(file)):
        path.unlink(missing_ok=True)
    if volid in pve.cluster.data.get("volume_notes", {}):
        with pve.cluster.changed():
            pve.cluster.data["volume_notes"].pop(volid, None)


def config_file(archive: Path) -> Path:
    """Where the configuration of a backup is kept: beside its archive."""
    return archive.with_name(archive.name + ".conf")


def write_config(archive: Path, conf: GuestConf) -> None:
    """Keeps a guest's configuration with its archive."""
    plain = GuestConf(conf.vmid, conf.kind, dict(conf.values))
    plain.values.pop("lock", None)
    store.write(config_file(archive), plain.to_text().encode())


def read_config(pve: Pve, archive: Path, vmid: int, kind: str) -> Values:
    """The configuration that an archive holds."""
    file = config_file(archive)
    refuse_if(not file.is_file(), "unable to restore - archive contains no configuration file")
    return from_text(vmid, kind, file.read_text()).values


def config_text(archive: Path, kind: str) -> str:
    """The configuration in an archive as its own tools print it: a machine's names its disks at the end."""
    text = config_file(archive).read_text()
    if kind != "qemu":
        return text
    marks = ""
    for key, value in sorted(from_text(0, kind, text).values.items()):
        volume = value.partition(",")[0].removeprefix("file=")
        found = re.fullmatch(r"([a-zA-Z][\w.\-]*):\S+", volume)
        if re.fullmatch(r"(ide|sata|scsi|virtio|efidisk|tpmstate)\d+", key) and found and "media=cdrom" not in value:
            ending = volume.rpartition(".")[2]
            marks += f"#qmdump#map:{key}:drive-{key}:{found[1]}:{ending if ending in ('qcow2', 'vmdk') else 'raw'}:\n"
    return text + marks
