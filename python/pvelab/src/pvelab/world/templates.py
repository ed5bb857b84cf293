"""Makes the operating system images that guests are created from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import rootfs
from .errors import LabError
from .lab import Config, Lab
from .process import say
from .rootfs import Baked, Recipe

# Where a directory storage of PVE keeps what kind of volume.
_FOLDERS = {"vztmpl": "template/cache", "import": "import"}
_VOLUME = re.compile(r"([a-z][\w.-]*):(vztmpl|import)/([\w.+-]+)")
# What Debian's images bring, beside what the caller asks for.
_STOCK = (
    "openssh-server", "ca-certificates", "cron", "less", "nano", "iputils-ping", "netbase", "logrotate", "locales",
    "libpam-systemd", "systemd-sysv", "tzdata",
)  # fmt: skip
_SSHD = "PermitRootLogin prohibit-password\nUseDNS no\n"


def recipe(suite: str, packages: Sequence[str], masked: Sequence[str] = ()) -> Recipe:
    """The root file system behind an image; `masked` are units of its packages that must not run."""
    commands = ("systemctl enable systemd-networkd.service", *(f"systemctl mask {unit}" for unit in sorted(masked)))
    files = {"etc/ssh/sshd_config.d/00-root-by-key.conf": _SSHD}
    return Recipe(suite, tuple(sorted({*_STOCK, *packages})), files, commands)


def path(lab: Lab, volume: str) -> Path:
    """The file behind a volume id of a directory storage."""
    found = _VOLUME.fullmatch(volume)
    if not found:
        raise LabError(f"{volume!r} is no image's volume id", hint="e.g. local:vztmpl/NAME.tar.zst")
    return lab.api / "storage" / found[1] / _FOLDERS[found[2]] / found[3]


def bake(lab: Lab, volume: str, suite: str, packages: Sequence[str], masked: Sequence[str] = ()) -> Baked:
    """The root file system behind an image; made now unless this machine has it."""
    return rootfs.bake(lab, recipe(suite, packages, masked), f"image {volume}")


def place(lab: Lab, config: Config, volume: str, suite: str, packages: Sequence[str], baked: Baked) -> dict[str, Any]:
    """Links the image into the storage, and writes down what it is."""
    target, archive = path(lab, volume), baked.archive
    storages = [item["id"] for item in config.raw.get("storages", [])] or ["local"]
    if volume.partition(":")[0] not in storages:
        raise LabError(f"the lab has no storage {volume.partition(':')[0]!r}", hint=f"it has {', '.join(storages)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or not target.samefile(archive):
        _place(archive, target)
    described = {
        "volume": volume,
        "is": "a root file system as tar.zst, made by the lab from Debian packages",
        "is_not": f"an image downloaded from a vendor{', nor a qcow2 disk' if volume.endswith('.qcow2') else ''}",
        "suite": suite,
        "packages": sorted({*_STOCK, *packages}),
        "sha256": baked.sha256,
    }
    # Beside the storage, not in it: the API would list it as a volume.
    note = lab.state / "images" / f"{target.name}.json"
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps(described, indent=1) + "\n")
    say(f"image {volume}", f"{archive.stat().st_size // 2**20} MiB, {archive.name}")
    return {**described, **baked.taken.as_json()}


def _place(archive: Path, target: Path) -> None:
    """Links the archive into the storage, or copies it where the cache is another file system."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        os.link(archive, part)
    except OSError:
        rootfs.copy(archive, part)
    part.replace(target)
