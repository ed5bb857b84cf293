"""Bakes Debian root file systems and keeps them in the cache, named by the hash of what they are made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import artifacts, credentials, sources, trust
from .artifacts import Made, Taken
from .lab import Lab
from .process import pipe, run, say

# Raised by hand when the steps below change what comes out, so that old caches are not used.
RECIPE = 4
_BASE_PACKAGES = ("ca-certificates", "iproute2", "systemd-sysv", "dbus", "netbase", "procps", "passwd")
# Both fail in every container, and a failed unit would hide a real one.
_MASKED = ("sys-kernel-debug.mount", "systemd-modules-load.service")
OFFSET = 100_000  # of the owners of a guest's files, by its uid map
IDMAP = ("-m", f"u:0:{OFFSET}:65536", "-m", f"g:0:{OFFSET}:65536")


@dataclass(frozen=True)
class Recipe:
    """What a root file system is made from. `files`: path in the root to content; `commands` run in it by sh."""

    suite: str
    packages: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def digest(self, index: list[str], options: list[str], authorities: list[str]) -> str:
        """Names the result: the same inputs give the same name."""
        parts = [RECIPE, self.suite, sorted(set(self.packages)), dict(self.files), self.commands]
        return artifacts.key_of(*parts, index, options, sorted(authorities))


@dataclass(frozen=True)
class Baked:
    """A root file system as a tar.zst that never changes."""

    archive: Path
    sha256: str
    taken: Taken


def bake(lab: Lab, recipe: Recipe, what: str) -> Baked:
    """The root file system of a recipe; made now unless this machine has it."""
    options, authorities = sources.carried_options(), trust.local()
    key = recipe.digest(sources.index(recipe.suite, lab.week), options, authorities)
    archive = artifacts.root() / "roots" / f"{key}.tar.zst"

    def make() -> Made:
        say(what, f"being made from Debian {recipe.suite} packages")
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".part-") as work:
            root, part = Path(work) / "root", Path(work) / "part"
            _debootstrap(recipe, options, root)
            _customise(root, recipe, options, authorities)
            _pack(root, part)
            part.rename(archive)
        say(what, f"made, {archive.stat().st_size // 2**20} MiB")
        with archive.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Made([f"{archive.parent.name}/{archive.name}"], {"sha256": sha256})

    taken = artifacts.ensure(lab, "root", what, key, make)
    return Baked(archive, str(taken.details["sha256"]), taken)


def _debootstrap(recipe: Recipe, options: list[str], root: Path) -> None:
    packages = sorted({*_BASE_PACKAGES, *recipe.packages})
    argv = ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", "--quiet"]
    argv += [f"--include={','.join(packages)}", '--aptopt=APT::Install-Recommends "false"']
    argv += ["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
    argv += ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    argv += [f"--aptopt={line}" for line in options]
    run([*argv, recipe.suite, str(root), *sources.lines(sources.host_sources(), recipe.suite)], timeout=1800)


def _customise(root: Path, recipe: Recipe, options: list[str], authorities: list[str]) -> None:
    # The machine's own way to its mirror, without what it may log in there with: the root is a guest's.
    if options:
        (root / "etc/apt/apt.conf.d/90host").write_text(credentials.without("\n".join(options) + "\n"))
    listed = root / "etc/apt/sources.list"
    if listed.exists():
        listed.write_text(credentials.without(listed.read_text()))
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
    tar = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-x", "--exclude=./dev/*"]
    if shifted:
        # Inside the map tar cannot write wrong owners, and file capabilities get the map's own form.
        os.chown(root, OFFSET, OFFSET)
        tar = ["lxc-usernsexec", *IDMAP, "--", *tar]
    # In the directory and not by its name: the map's root could not pass those above.
    pipe(["zstd", "-q", "-d", "-c", "--force", str(archive.absolute())], tar, cwd=root)


def pack_guest(root: Path, target: Path) -> None:
    """Writes a guest's root file system as a tar.zst with the owners that the guest itself sees."""
    tar = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--one-file-system"]
    tar += ["--warning=no-file-changed", "--exclude=./dev/*", "-c", "."]
    part = target.with_name(target.name + ".part").absolute()
    try:
        pipe(["lxc-usernsexec", *IDMAP, "--", *tar], ["zstd", "-q", "-f", "-1", "-T0", "-o", str(part)], cwd=root)
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
