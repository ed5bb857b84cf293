"""Bakes Debian root file systems and keeps them in the cache, named by the hash of what they are made from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import sources, trust
from .lab import cache
from .process import pipe, run, say

# Raised by hand when the steps below change what comes out, so that old caches are not used.
RECIPE = 4
_BASE_PACKAGES = ("ca-certificates", "iproute2", "systemd-sysv", "dbus", "netbase", "procps", "passwd")
# Both fail in every container, and a failed unit would hide a real one.
_MASKED = ("sys-kernel-debug.mount", "systemd-modules-load.service")
IDMAP = ("-m", "u:0:100000:65536", "-m", "g:0:100000:65536")


@dataclass(frozen=True)
class Recipe:
    """What a root file system is made from. `files`: path in the root to content; `commands` run in it by sh."""

    suite: str
    packages: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def digest(self, apt: list[str], options: list[str], authorities: list[str]) -> str:
        """Names the result: the same inputs give the same name."""
        parts = [RECIPE, self.suite, sorted(set(self.packages)), dict(self.files), self.commands]
        machine = os.uname().machine
        blob = json.dumps([*parts, apt, options, sorted(authorities), machine], sort_keys=True)
        return hashlib.sha256(blob.encode()).hexdigest()[:24]


def bake(recipe: Recipe, what: str) -> Path:
    """The root file system as a tar.zst in the cache; made now if it is not there."""
    apt = sources.lines(sources.host_sources(), recipe.suite)
    options = sources.carried_options()
    authorities = trust.local()
    folder = cache() / "rootfs"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{recipe.digest(apt, options, authorities)}.tar.zst"
    with _lock(target):
        if not target.exists():
            say(what, f"being made from Debian {recipe.suite} packages")
            _sweep(folder)
            with tempfile.TemporaryDirectory(dir=folder, prefix=f".bake-{os.getpid()}-") as work:
                root = Path(work) / "root"
                _debootstrap(recipe, apt, options, root)
                _customise(root, recipe, options, authorities)
                part = Path(work) / "part"
                _pack(root, part)
                part.rename(target)
            say(what, f"made, {target.stat().st_size // 2**20} MiB")
    return target


def _sweep(folder: Path) -> None:
    """Removes what killed runs were baking."""
    for left in folder.glob(".bake-*"):
        owner = left.name.split("-")[1]
        if not Path("/proc", owner).exists():
            remove(left)


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Two labs that need the same root make it once."""
    with target.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _debootstrap(recipe: Recipe, apt: list[str], options: list[str], root: Path) -> None:
    packages = sorted({*_BASE_PACKAGES, *recipe.packages})
    argv = ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", "--quiet"]
    argv += [f"--include={','.join(packages)}", '--aptopt=APT::Install-Recommends "false"']
    argv += ["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
    argv += ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    argv += [f"--aptopt={line}" for line in options]
    run([*argv, recipe.suite, str(root), *apt], timeout=1800)


def _customise(root: Path, recipe: Recipe, options: list[str], authorities: list[str]) -> None:
    if options:
        (root / "etc/apt/apt.conf.d/90host").write_text("\n".join(options) + "\n")
    trust.install(root, authorities, "host")
    for unit in _MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for path, content in recipe.files.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    for command in recipe.commands:
        run(["chroot", str(root), "sh", "-ec", command], timeout=600)
    for file in [*(root / "etc/ssh").glob("ssh_host_*"), root / "var/lib/dbus/machine-id"]:
        file.unlink(missing_ok=True)
    # The choice above was for baking; in the guest apt behaves as Debian ships it.
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)


def _pack(root: Path, target: Path) -> None:
    tar = ["tar", "-C", str(root), "--numeric-owner", "--xattrs", "--xattrs-include=security.capability"]
    pipe([*tar, "--exclude=./dev/*", "-c", "."], ["zstd", "-q", "-1", "-T0", "-o", str(target)])


def unpack(archive: Path, root: Path, *, shifted: bool) -> None:
    """Unpacks an archive as a root file system, with owners shifted by the uid map if `shifted`."""
    root.mkdir(parents=True)
    root.chmod(0o755)
    tar = ["tar", "-C", str(root), "--numeric-owner", "--xattrs", "--xattrs-include=*", "-x", "--exclude=./dev/*"]
    if shifted:
        # Inside the map tar cannot write wrong owners, and file capabilities get the map's own form.
        os.chown(root, 100_000, 100_000)
        tar = ["lxc-usernsexec", *IDMAP, "--", *tar]
    pipe(["zstd", "-q", "-d", "-c", "--force", str(archive)], tar)


def pack_guest(root: Path, target: Path, *, shifted: bool) -> None:
    """Writes a guest's root file system as a tar.zst with the owners that the guest itself sees."""
    tar = ["tar", "-C", str(root), "--numeric-owner", "--xattrs", "--xattrs-include=*", "--one-file-system"]
    tar += ["--warning=no-file-changed", "--exclude=./dev/*", "-c", "."]
    source = ["lxc-usernsexec", *IDMAP, "--", *tar] if shifted else tar
    part = target.with_name(target.name + ".part")
    try:
        pipe(source, ["zstd", "-q", "-f", "-1", "-T0", "-o", str(part)])
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """Copies a root file system with owners, modes, links and attributes; shares blocks where that is possible."""
    run(["cp", "-a", "--reflink=auto", str(source), str(target)], timeout=3600)


def remove(path: Path) -> None:
    """Removes a root file system, however large."""
    if path.exists():
        run(["rm", "-rf", "--one-file-system", str(path)], timeout=1800)
