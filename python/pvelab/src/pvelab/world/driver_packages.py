"""Packages that stand in for NVIDIA's driver and container toolkit: what a machine with a simulated card installs.

They have the names and the kind of versions that the real ones have, say in their descriptions what they are, and lie
in a repository that a machine sees as /dev/lab-cards/packages.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tempfile
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from .process import run

DRIVER, TOOLKIT = "580.173.02", "1.20.1"
LIBRARY = "usr/lib/lab-nvidia/"
SIMULATED = "stand-in of pvelab, which simulates a card"


@dataclass(frozen=True)
class Package:
    """A package: its programs and files by where they are installed; a text, or a file of the folder `driver`."""

    name: str
    version: str
    files: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


PACKAGES = (
    Package("nvidia-kernel-open-dkms", f"{DRIVER}-1", texts={LIBRARY + "module-version": DRIVER + "\n"}),
    Package("nvidia-modprobe", f"{DRIVER}-1", {"usr/bin/nvidia-modprobe": "nvidia-modprobe"}),
    Package(
        "nvidia-persistenced",
        f"{DRIVER}-1",
        {"usr/lib/systemd/system/nvidia-persistenced.service": "nvidia-persistenced.service"},
    ),
    Package(
        "nvidia-driver-cuda",
        f"{DRIVER}-1",
        {"usr/bin/nvidia-smi": "nvidia-smi"},
        needs=("nvidia-modprobe", "nvidia-persistenced"),
    ),
    Package("nvidia-container-toolkit-base", f"{TOOLKIT}-1", {"usr/bin/nvidia-ctk": "nvidia-ctk"}),
)


def make(folder: Path) -> None:
    """Writes a repository of all of them, as apt reads it from a folder."""
    folder.mkdir()
    index = ""
    with tempfile.TemporaryDirectory() as work:
        for package in PACKAGES:
            built = _build(Path(work) / package.name, package, folder)
            index += f"{_control(package)}Filename: ./{built.name}\nSize: {built.stat().st_size}\n"
            index += f"SHA256: {hashlib.sha256(built.read_bytes()).hexdigest()}\n\n"
    (folder / "Packages").write_text(index)
    (folder / "Packages.gz").write_bytes(gzip.compress(index.encode(), mtime=0))
    for path in folder.iterdir():
        path.chmod(0o644)


def _build(tree: Path, package: Package, folder: Path) -> Path:
    programs = files("pvelab.world") / "driver"
    for place, name in package.files.items():
        _put(tree / place, programs.joinpath(name).read_text().replace("@VERSION@", DRIVER))
    for place, text in package.texts.items():
        _put(tree / place, text)
    _put(tree / "DEBIAN" / "control", _control(package))
    target = folder / f"{package.name}_{package.version}_all.deb"
    run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(target)])
    shutil.rmtree(tree)
    return target


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755 if text.startswith("#!") else 0o644)


def _control(package: Package) -> str:
    depends = f"Depends: {', '.join(package.needs)}\n" if package.needs else ""
    return (
        f"Package: {package.name}\nVersion: {package.version}\nArchitecture: all\n{depends}"
        f"Maintainer: pvelab <pvelab@localhost>\nDescription: {SIMULATED}\n"
    )
