"""Volumes: how volume ids are built and parsed, where files are, allocation and release."""

from __future__ import annotations

import math
import re
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import existing, failure, refuse_if
from .pve import Pve
from .registry import Call
from .words import split_list, truth

FOLDERS = {
    "vztmpl": "template/cache", "iso": "template/iso", "backup": "dump", "snippets": "snippets", "import": "import",
}  # fmt: skip
FILE_BASED = {"dir", "nfs", "cifs", "cephfs", "btrfs"}
NEW_DISK = re.compile(r"([^:\s]+):(\d+(\.\d+)?)")
BACKUP_NAME = re.compile(r"vzdump-(openvz|lxc|qemu)-(\d+)-.+")
EXTENSIONS = {  # what a file of each content type is called; the group is what the content list shows as format
    "iso": re.compile(r"[^/]\.(?:iso|img)$", re.I),
    "vztmpl": re.compile(r"[^/]\.(?:tar\.(gz|xz|zst|bz2)|(tar))$", re.I),
    "backup": re.compile(r"[^/]\.(tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)$"),
    "snippets": re.compile(r"[^/]"),
    "import": re.compile(r"^[\w\-.+= ]+\.(ova|ovf|qcow2|raw|vmdk)$", re.ASCII),
}
NOTHING = re.compile(r"(?!)")
VOLUME_ID = re.compile(r"([a-z][a-z0-9\-_.]*[a-z0-9]):(.+)", re.I)
Storage = dict[str, Any]


@dataclass(frozen=True)
class VolumeName:
    """What a volume's name says: content type, owner, format."""

    kind: str
    owner: int | None
    format: str
    base: bool = False


def storage(pve: Pve, sid: str) -> Storage:
    """A storage's configuration."""
    found: Storage = existing(pve.storages.data.get(sid), f"storage '{sid}' does not exist")
    return found


def is_on(config: Storage, node: str) -> bool:
    """Whether a storage is for a node."""
    return not config.get("nodes") or node in split_list(str(config["nodes"]))


def is_enabled(config: Storage, node: str) -> bool:
    """Whether a storage may be used on a node."""
    return is_on(config, node) and not truth(config.get("disable"))


def enabled_storage(pve: Pve, sid: str) -> Storage:
    """A storage that may be used on this node."""
    found = storage(pve, sid)
    refuse_if(truth(found.get("disable")), f"storage '{sid}' is disabled")
    refuse_if(not is_on(found, pve.node.name), f"storage '{sid}' is not available on node '{pve.node.name}'")
    return found


def contents(config: Storage) -> set[str]:
    """The content types of a storage."""
    return {item for item in str(config.get("content", "")).split(",") if item}


def directories(config: Storage) -> dict[str, str]:
    """The directories that a storage's definition gives to content types, in place of the usual ones."""
    return dict(item.partition("=")[::2] for item in split_list(str(config.get("content-dirs", ""))))


def split(volid: str) -> tuple[str, str]:
    """Storage and name of a volume id."""
    found = existing(VOLUME_ID.fullmatch(volid), f"unable to parse volume ID '{volid}'")
    return found[1], found[2]


def parse_name(config: Storage, name: str) -> VolumeName:
    """Reads a volume's name by the rules of its storage's type."""
    if config["type"] in FILE_BASED:
        return _parse_file_name(name)
    found = re.fullmatch(r"(?:base-\d+-\S+/)?((base|basevol|vm|subvol)-(\d+)-\S+)", name)
    if not found:
        kind = "zfs" if config["type"] == "zfspool" else "lvm"
        raise failure(f"unable to parse {kind} volume name '{name}'")
    container = found[2] in ("subvol", "basevol")
    return VolumeName("images", int(found[3]), "subvol" if container else "raw", found[2].startswith("base"))


def named(pve: Pve, volid: str) -> VolumeName:
    """What the name of a volume says."""
    sid, name = split(volid)
    return parse_name(storage(pve, sid), name)


def _parse_file_name(name: str) -> VolumeName:
    found = re.fullmatch(r"(?:\d+/(\S+)/)?(\d+)/(\S+)", name)
    if found:
        if found[1]:
            image_format(found[1])
        return VolumeName("images", int(found[2]), image_format(found[3]), found[3].startswith("base-"))
    folder, _, rest = name.partition("/")
    if rest and "/" not in rest and EXTENSIONS.get(folder, NOTHING).search(rest):
        owner = BACKUP_NAME.match(rest) if folder == "backup" else None
        kind = rest.rpartition(".")[2] if folder == "import" else "raw"
        return VolumeName(folder, int(owner[2]) if owner else None, kind)
    packed = re.fullmatch(r"import/[\w\-.+= ]+\.ova/[\w\-.+= ]+\.(qcow2|raw|vmdk)", name, re.ASCII)
    if packed:
        return VolumeName("import", None, f"ova+{packed[1]}")
    raise failure(f"unable to parse directory volume name '{name}'")


def image_format(name: str) -> str:
    """The format that a disk image's file name ends with."""
    refuse_if(re.fullmatch(r"snap-.*\.qcow2", name), f"'{name}' is a snapshot filename, not a volume!")
    found = re.fullmatch(r"[^/\s]+\.(raw|qcow2|vmdk|subvol)", name)
    return existing(found, f"unable to parse volume filename '{name}'")[1]


def root(pve: Pve, sid: str) -> Path:
    """Where the files of a storage are in the state directory."""
    return pve.state / "storage" / sid


def file_path(pve: Pve, volid: str) -> Path:
    """The file behind a volume id of a file-based content type."""
    sid, name = split(volid)
    found = parse_name(storage(pve, sid), name)
    if found.kind in FOLDERS:
        return root(pve, sid) / FOLDERS[found.kind] / name.partition("/")[2]
    return root(pve, sid) / "images" / name


def seen_path(pve: Pve, volid: str) -> str:
    """Where the file of a directory storage is for who works on the node."""
    sid, name = split(volid)
    config = storage(pve, sid)
    return f"{config['path']}/{FOLDERS[parse_name(config, name).kind]}/{name.partition('/')[2]}"


def exists(pve: Pve, volid: str) -> bool:
    """Whether a volume is there."""
    return volid in pve.volumes.data or file_path(pve, volid).is_file()


def archive_file(pve: Pve, text: str) -> Path:
    """The file of an archive that is named by its volume id or its path, or PVE's refusal of one that is not there."""
    if VOLUME_ID.fullmatch(text):
        path = file_path(pve, text)
        refuse_if(not path.is_file(), f"volume '{text}' does not exist")
        return path
    path = Path(text)
    refuse_if(not path.is_absolute() or not path.is_file(), f"can't find file '{text}'")
    return path


def activate(pve: Pve, *volids: str) -> None:
    """Raises unless the volumes are all there, as PVE does before it works with them."""
    for volid in volids:
        refuse_if(not exists(pve, volid), f"volume '{volid}' does not exist")


def size_of(pve: Pve, volid: str) -> int:
    """The virtual size of a volume in bytes."""
    known = pve.volumes.data.get(volid)
    return int(known["size"]) if known else image_size(file_path(pve, volid))


def image_size(path: Path) -> int:
    """The virtual size of a disk image: qcow2 says it in its header, raw is as large as its file."""
    with path.open("rb") as file:
        head = file.read(32)
    if head[:4] == b"QFI\xfb":
        return int(struct.unpack(">Q", head[24:32])[0])
    return path.stat().st_size


def used(pve: Pve, sid: str) -> int:
    """How many bytes of a storage its volumes take."""
    total = sum(int(v["size"]) for volid, v in pve.volumes.data.copy().items() if volid.startswith(f"{sid}:"))
    folder = root(pve, sid)
    if folder.is_dir():
        total += sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    return total


def total(pve: Pve, sid: str) -> int:
    """How large a storage is."""
    spec = next((item for item in pve.node.storages if item.id == sid), None)
    return spec.size if spec else pve.node.disk


def name_for(pve: Pve, sid: str, vmid: int, label: str, kind: str) -> str:
    """A free volume id for a disk of a guest; `label` names it, else it gets the first free number."""
    file_based = storage(pve, sid)["type"] in FILE_BASED
    prefix = "subvol" if kind == "subvol" else "vm"
    before, after = (f"{sid}:{vmid}/", f".{kind}") if file_based else (f"{sid}:", "")
    if label:
        return f"{before}{prefix}-{vmid}-{label}{after}"
    pattern = re.compile(rf"(?:vm|base|subvol|basevol)-{vmid}-disk-(\d+)")
    mine = [volid for volid in pve.volumes.data.copy() if volid.startswith(f"{sid}:")]
    taken = {int(found[1]) for volid in mine if (found := pattern.search(volid))}
    number = next((n for n in range(1000) if n not in taken), None)
    if number is None:
        raise failure(f"unable to allocate an image name for VM {vmid} in storage '{sid}'")
    return f"{before}{prefix}-{vmid}-disk-{number}{after}"


def allocate(
    call: Call, sid: str, vmid: int, size: int, *, label: str = "", container: bool = False, kind: str = "raw"
) -> str:
    """Makes a volume for a guest and returns its id."""
    pve, config = call.pve, storage(call.pve, sid)
    if container:
        if config["type"] != "zfspool" and "rootdir" not in contents(config):
            raise failure(f"content type 'rootdir' is not available or configured on storage '{sid}'")
        kind = "subvol" if config["type"] == "zfspool" or not size else "raw"
    if "storage-full" in call.faults or size > total(pve, sid) * 100:
        raise failure(f"unable to allocate image: storage '{sid}' is full: No space left on device")
    with pve.volumes.lock:
        volid = name_for(pve, sid, vmid, label, kind)
        keep(pve, volid, size, vmid, kind, "rootdir" if container else "images")
    return volid


def keep(pve: Pve, volid: str, size: int, vmid: int, kind: str, content: str) -> None:
    """Records a volume."""
    with pve.volumes.changed():
        entry = {"size": size, "vmid": vmid, "format": kind, "content": content, "ctime": int(time.time())}
        pve.volumes.data = {**pve.volumes.data, volid: entry}


def resize(pve: Pve, volid: str, size: int) -> None:
    """Records a volume's new size."""
    with pve.volumes.lock:
        if volid in pve.volumes.data:
            pve.volumes.data = {**pve.volumes.data, volid: {**pve.volumes.data[volid], "size": size}}
            pve.volumes.save()


def release(pve: Pve, *volids: str) -> None:
    """Forgets volumes; fine if they are gone."""
    with pve.volumes.lock:
        left = {k: v for k, v in pve.volumes.data.items() if k not in volids}
        if len(left) != len(pve.volumes.data):
            pve.volumes.data = left
            pve.volumes.save()


def owned(pve: Pve, vmid: int) -> list[str]:
    """All disk volumes of a guest."""
    return [volid for volid, entry in pve.volumes.data.copy().items() if entry["vmid"] == vmid]


def check_access(call: Call, vmid: int | None, volid: str, kind: str | None = None) -> None:
    """Whether the caller may use an existing volume for a guest."""
    if not VOLUME_ID.fullmatch(volid):
        refuse_if(not call.is_root, "Only root can pass arbitrary filesystem paths.")
        return
    sid, name = split(volid)
    found = parse_name(storage(call.pve, sid), name)
    if kind and found.kind != kind and not (kind == "rootdir" and found.kind == "images"):
        raise failure(f"unable to use volume {volid} - content type needs to be '{kind}'")
    if call.allowed(f"/storage/{sid}", "Datastore.Allocate"):
        return
    if found.kind in ("iso", "vztmpl", "import"):
        call.check(f"/storage/{sid}", "Datastore.AllocateSpace", "Datastore.Audit", any_of=True)
    elif found.owner is not None and found.owner == vmid:
        return
    elif found.kind == "backup" and found.owner:
        call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
        call.check(f"/vms/{found.owner}", "VM.Backup")
    elif found.kind == "images" and found.owner:
        call.check(f"/storage/{sid}", "Datastore.Audit")
        call.check(f"/vms/{found.owner}", "VM.Config.Disk")
    else:
        raise failure(f"missing privileges to access {volid}")


def gib(text: str) -> int:
    """Bytes of a number of GiB, rounded up to whole KiB."""
    return math.ceil(float(text) * (1 << 20)) << 10
