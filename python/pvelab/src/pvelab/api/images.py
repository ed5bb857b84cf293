"""What PVE looks at in an uploaded or downloaded image before it keeps it."""

from __future__ import annotations

import struct
import tarfile
from pathlib import Path

from .errors import failure, refuse_if

QCOW2 = b"QFI\xfb"
VMDK = (b"KDMV", b"COWD", b"# Disk DescriptorFile")
DATA_FILE = 1 << 2  # the incompatible feature of qcow2 that keeps the data in another file


def check(file: Path, shown: str, kind: str, name: str) -> None:
    """Raises when a file isn't what its content type and name say; `shown` is its path on the node."""
    suffix = name.rpartition(".")[2]
    if kind == "iso":
        _untrusted(file, shown)
    elif kind == "import" and suffix == "ova":
        _ova(file, shown)
    elif kind == "import":
        _image(file, shown, suffix)


def _image(file: Path, shown: str, suffix: str) -> None:
    with file.open("rb") as opened:
        start = opened.read(64)
    good = {"qcow2": start.startswith(QCOW2), "vmdk": start.startswith(VMDK)}
    refuse_if(not good.get(suffix, True), f"qemu-img: Could not open '{shown}': Image is not in {suffix} format")
    if suffix == "qcow2":
        version = struct.unpack(">I", start[4:8].ljust(4, b"\0"))[0]
        refuse_if(version not in (2, 3), f"qemu-img: Could not open '{shown}': Unsupported qcow2 version {version}")
        _untrusted(file, shown)


def _untrusted(file: Path, shown: str) -> None:
    """Nothing that a client sends may refer to another file of the node."""
    with file.open("rb") as opened:
        start = opened.read(104)
    if not start.startswith(QCOW2) or len(start) < 80:
        return
    version, backing = struct.unpack(">IQ", start[4:16])
    if version == 3 and struct.unpack(">Q", start[72:80])[0] & DATA_FILE:
        raise failure(f"{shown}: 'data-file' references are not allowed!")
    refuse_if(backing, f"backing file not allowed for untrusted image '{shown}'!")


def _ova(file: Path, shown: str) -> None:
    try:
        with tarfile.open(file) as archive:
            names = archive.getnames()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise failure(f"command 'tar -t -f {shown}' failed: exit code 2") from error
    refuse_if(not any(name.endswith(".ovf") for name in names), "ova archive has no .ovf file inside")
