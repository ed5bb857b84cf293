"""Applies a VM's cloud-init settings to its root file system before each boot, as the cloud-init drive would."""

from __future__ import annotations

from collections.abc import Mapping

from . import identity, properties
from .identity import Root


def apply(root: Root, vmid: int, config: Mapping[str, str]) -> None:
    """Creates `ciuser` if needed, sets its password hash and adds its ssh keys."""
    user = config.get("ciuser") or "root"
    entry = _entry(root, user)
    if entry is None:
        root.run(["useradd", "--create-home", "--shell", "/bin/bash", user])
        # Debian's cloud image lets its default user become root.
        root.write(f"etc/sudoers.d/90-cloud-init-{user}", f"{user} ALL=(ALL) NOPASSWD:ALL\n", 0o440)
        entry = _entry(root, user)
    if entry is not None:
        identity.authorise(root, entry[5], properties.public_keys("qemu", config), int(entry[2]))
    if password := config.get("cipassword", ""):
        identity.set_password(root, user, password)


def _entry(root: Root, user: str) -> list[str] | None:
    for line in root.read("etc/passwd").splitlines():
        fields = line.split(":")
        if fields[0] == user and len(fields) > 6:
            return fields
    return None
