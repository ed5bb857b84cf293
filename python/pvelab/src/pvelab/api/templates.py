"""What a container template says of itself: its system, its architecture, whether it has an SSH server."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from .tables import table

SYSTEMS: list[str] = table("template systems").split()
ALIASES: dict[str, str] = table("template aliases")
LIMIT = 20_000  # members that are looked at
MACHINES = {3: "i386", 40: "armhf", 62: "amd64", 183: "arm64", 243: "riscv64"}


@dataclass(frozen=True)
class Template:
    """What was found."""

    system: str
    arch: str
    keys: bool = True  # whether SSH host keys are made


def look(archive: Path, name: str) -> Template:
    """Looks into an archive; where that says nothing, the name tells system and architecture."""
    plain = name.rpartition("/")[2]
    system = next((s for s in SYSTEMS if plain.startswith(s)), "unmanaged")
    arch = "arm64" if "arm64" in plain else "amd64"
    try:
        with tarfile.open(archive) as opened:
            return _inside(opened) or Template(system, arch)
    except (tarfile.TarError, OSError, EOFError):
        return Template(system, arch)


def _inside(opened: tarfile.TarFile) -> Template | None:
    system, arch, keys = "", "", False
    for number, member in enumerate(opened):
        name = member.name.removeprefix("./").strip("/")
        if name in ("etc/os-release", "usr/lib/os-release") and member.isfile():
            file = opened.extractfile(member)
            system = system or _system(file.read(65536).decode("utf-8", "replace") if file else "")
        elif name in ("bin/sh", "usr/bin/sh", "bin/busybox", "usr/bin/dash", "bin/dash") and member.isfile():
            file = opened.extractfile(member)
            arch = arch or _architecture(file.read(20) if file else b"")
        keys = keys or name == "etc/ssh"
        if number > LIMIT:
            return None
    return Template(system, arch or "amd64", keys) if system else None


def _system(text: str) -> str:
    found = re.search(r"^ID=[\"']?([\w.-]+)", text, re.M)
    name = found[1] if found else ""
    return name if name in SYSTEMS else ALIASES.get(name, "unmanaged")


def _architecture(head: bytes) -> str:
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return ""
    return MACHINES.get(int.from_bytes(head[18:20], "little" if head[5] == 1 else "big"), "")
