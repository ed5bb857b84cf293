"""Applies a VM's cloud-init settings to its root file system before each boot, as the cloud-init drive would."""

from __future__ import annotations

from collections.abc import Mapping

from . import accounts, identity, properties
from .root import Root


def apply(root: Root, vmid: int, config: Mapping[str, str]) -> None:
    """Creates `ciuser` if needed, sets its password hash and adds its ssh keys."""
    user = config.get("ciuser") or "root"
    entry = accounts.entry(root, user)
    if entry is None:
        accounts.add(root, user)
        # Debian's cloud image lets its default user become root.
        root.write(f"etc/sudoers.d/90-cloud-init-{user}", f"{user} ALL=(ALL) NOPASSWD:ALL\n", 0o440)
        entry = accounts.entry(root, user)
    if entry is not None:
        identity.authorise(root, entry[5], properties.public_keys("qemu", config), int(entry[2]))
    if password := config.get("cipassword", ""):
        accounts.set_password(root, user, password)
