"""Storages that a hub makes: a ZFS mirror of whole, empty disks, as a storage of Proxmox. None is ever removed.

What is on a disk is looked at when the plan is made, and by the same words once more right before it is taken.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from .actual import ActualNode
from .desired import Desired, Mirror
from .disks import HOLDS
from .refusal import RefusedByNode
from .steps import Step, command

FUZZ = 16 << 20
"""By how much ZFS lets the disks of a mirror differ."""


def steps(desired: Desired, actual: ActualNode) -> list[Step]:
    """One step per storage that is to be made and is not there; raises RefusedByNode before anything is changed."""
    lacking = [mirror for mirror in desired.mirrors if mirror.storage not in _storages(actual)]
    half = [m for m in lacking if m.stand_in or actual.pools.get(m.storage) == desired.marker]
    if wrong := [text for mirror in lacking if mirror not in half for text in _obstacles(desired, actual, mirror)]:
        raise RefusedByNode(
            "precondition",
            "\n".join(wrong),
            "a disk that holds anything is never taken: name others under nodes.*.storage in hub.yml; if it may go, as "
            f"root on {desired.node}: wipefs --all /dev/disk/by-id/DISK",
        )
    return [_made(desired, mirror, whole=mirror not in half) for mirror in lacking]


def kept(desired: Desired, actual: ActualNode) -> Iterator[str]:
    """A sentence for each pool of ours that hub.yml has no more: whatever is on it stays."""
    named = () if desired.removed else (*desired.storages, *(mirror.storage for mirror in desired.mirrors))
    for name, comment in sorted(actual.pools.items()):
        if comment == desired.marker and name not in named:
            text = f"node {desired.node}: storage {name} was made for this hub and is kept, with all that is on it"
            yield f"{text}; to remove it, as root there: pvesm remove {name}; zpool destroy {name}"


def _obstacles(desired: Desired, actual: ActualNode, mirror: Mirror) -> Iterator[str]:
    where = f"node {desired.node}: storage {mirror.storage} can't be made"
    if "zpool" not in actual.values:
        yield f"{where}: there is no zpool"
    if mirror.storage in actual.pools:
        yield f"{where}: a ZFS pool of that name is there, and this hub did not make it"
    if f"folder /{mirror.storage}" in actual.values:
        yield f"{where}: /{mirror.storage}, where it would be mounted, is not empty"
    found = [actual.disks[name] for name in mirror.disks]
    for disk in found:
        if not disk.size:
            yield f"{where}: there is no disk /dev/disk/by-id/{disk.name}"
        elif disk.holds:
            yield f"{where}: disk {disk.name} ({disk.path}) is not empty: {disk.holds}"
    paths, sizes = [disk.path for disk in found], [disk.size for disk in found]
    if all(sizes) and len({*paths}) < len(paths):
        yield f"{where}: {' and '.join(mirror.disks)} are names of one disk ({', '.join(dict.fromkeys(paths))})"
    elif all(sizes) and max(sizes) - min(sizes) > FUZZ:
        yield f"{where}: its disks are not of one size: {', '.join(f'{disk.name} {disk.size}' for disk in found)} bytes"


def _made(desired: Desired, mirror: Mirror, *, whole: bool) -> Step:
    paths = [f"/dev/disk/by-id/{name}" for name in mirror.disks]
    again = (
        HOLDS
        + f"for d in {shlex.join(paths)}; do\n"
        + ' f=$(holds "$d"); [ -z "$f" ] || { echo "$d: $f" >&2; exit 1; }\ndone\n'
    )
    pool = command(
        "zpool", "create", "-o", "ashift=12", "-o", f"comment={desired.marker}", "-O", "compression=on",
        mirror.storage, "mirror", *paths,
    )  # fmt: skip
    storage = command(
        "pvesh", "create", "/storage", "--storage", mirror.storage, "--type", "zfspool", "--pool", mirror.storage,
        "--content", "images,rootdir", "--sparse", "1", "--nodes", desired.node,
    )  # fmt: skip
    text = f"ZFS mirror of {' and '.join(mirror.disks)}"
    if mirror.stand_in:
        text += f" ({mirror.stand_in})"
    differences = (("pool", "none" if whole or mirror.stand_in else f"{text}, no storage yet", text),)
    commands = (again + pool, storage) if whole else (storage,)
    return Step("storage", f"storage {mirror.storage}", "create", differences, commands)


def _storages(actual: ActualNode) -> set[str]:
    return {str(entry["storage"]) for entry in actual.api["storage"]}
