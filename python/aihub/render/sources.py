"""The roles as files: what they install, and a hash of what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from aihub.model.resolved import Instance
from aihub.paths import ROOT, STACKS
from aihub.reading import document

ROLES = ROOT / "roles"


def packages(role: str = "*", system: str = "debian") -> list[str]:
    """Packages that roles install: the lists ROLE_packages and ROLE_packages_vm of their defaults.

    On another system than Debian ROLE_packages_SYSTEM counts instead of the first, where there is one.
    """
    found: set[str] = set()
    for name, values in _defaults(role):
        found.update(values.get(f"{name}_packages_{system}", values.get(f"{name}_packages", ())))
        found.update(values.get(f"{name}_packages_vm", ()))
    return sorted(found)


def hosts(role: str) -> list[str]:
    """Where a role has packages from, beside the system's own sources: the list ROLE_hosts."""
    return sorted({str(host) for name, values in _defaults(role) for host in values.get(f"{name}_hosts", ())})


def driver(*, simulated: bool) -> Mapping[str, Any]:
    """What the role `nvidia` says of the driver, for a node that has it itself: source, branch, packages, headers."""
    said = {**document.read(ROLES / "nvidia" / "defaults" / "main.yml").data}
    said |= document.read(ROLES / "nvidia" / "vars" / "main.yml").data
    source = said["nvidia_simulated_source" if simulated else "nvidia_driver_source"]
    return {
        "url": source["url"],
        "key": source["key"],
        "fingerprint": source.get("fingerprint", ""),
        "branch": said["nvidia_branch"],
        "packages": tuple(said["nvidia_node_packages"]),
        "headers": tuple(said["nvidia_node_headers"]),
    }


def masked() -> list[str]:
    """Units of those packages that must not run: the lists ROLE_masked."""
    return sorted({unit for name, values in _defaults("*") for unit in values.get(f"{name}_masked", ())})


def _defaults(role: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in sorted(ROLES.glob(f"{role}/defaults/main.yml")):
        yield path.parents[1].name, document.read(path).data


@cache
def role_hash(role: str) -> str:
    """The hash of everything in a role that can change what it does."""
    digest = hashlib.sha256()
    base = ROLES / role
    for path in _files(base):
        _add(digest, str(path.relative_to(base)).encode())
        _add(digest, path.read_bytes())
    return digest.hexdigest()


@cache
def role_parts(role: str, digits: int) -> Mapping[str, str]:
    """Each such file, with the first digits of its hash."""
    base = ROLES / role
    files = _files(base)
    return {f"roles/{role}/{p.relative_to(base)}": hashlib.sha256(p.read_bytes()).hexdigest()[:digits] for p in files}


def _files(base: Path) -> list[Path]:
    """What a role does is in these: all but its README."""
    return [path for path in _sources(base) if path.suffix != ".md"]


def _sources(folder: Path) -> list[Path]:
    """Every file below a folder but what Python leaves beside a program that it has run."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


def flavour_of(instance: Instance) -> dict[str, Any]:
    """What compose.FLAVOUR.yml of the instance's stack says, where hub.yml chose a flavour that has one."""
    flavour = instance.options.get("flavour")
    path = STACKS / instance.stack.name / f"compose.{flavour}.yml"
    return dict(document.read(path).data) if flavour and path.is_file() else {}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative path; nothing when there is no such folder."""
    if not folder.is_dir():
        return {}
    return {str(path.relative_to(folder)): path.read_bytes() for path in _sources(folder)}


def _add(digest: Any, part: bytes) -> None:
    # The length keeps two parts from being read as one.
    digest.update(len(part).to_bytes(8, "big") + part)
