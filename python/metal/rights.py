"""What the hub's user and token may do in Proxmox, and where: nothing at `/`."""

from __future__ import annotations

from dataclasses import dataclass

from .desired import Desired

ROLES: dict[str, tuple[str, ...]] = {
    # Guests of the hub's own pool.
    "HubGuest": (
        "Pool.Audit",
        "VM.Allocate",
        "VM.Audit",
        "VM.Backup",
        "VM.Clone",
        "VM.Config.CDROM",
        "VM.Config.CPU",
        "VM.Config.Cloudinit",
        "VM.Config.Disk",
        "VM.Config.HWType",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.Options",
        "VM.GuestAgent.Audit",
        "VM.PowerMgmt",
        "VM.Snapshot",
    ),
    # Every guest, read only: a VMID or a name that somebody else holds must be seen before it is asked for.
    "HubAudit": ("VM.Audit",),
    "HubDisk": ("Datastore.AllocateSpace", "Datastore.Audit"),
    "HubImages": ("Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"),
    "HubNet": ("SDN.Use",),
    "HubNode": ("Sys.AccessNetwork", "Sys.Audit"),
}


MAPPING_USER = "PVEMappingUser"
"""Proxmox's own role for who may use a mapping."""


@dataclass(frozen=True, order=True)
class Grant:
    """One role at one path."""

    path: str
    role: str
    propagate: bool = False


def grants(desired: Desired, closed: tuple[str, ...] = ()) -> tuple[Grant, ...]:
    """Where the hub's user and token hold which role.

    `closed` are bridges of zones that are gone: Proxmox asks for the right to use a bridge also of who leaves it. So it
    does for the mappings of cards.
    """
    bridges = (zone.bridge for zone in desired.zones)
    found = {
        Grant(f"/pool/{desired.pool}", "HubGuest", True),
        Grant("/vms", "HubAudit", True),
        Grant(f"/nodes/{desired.node}", "HubNode"),
        Grant(f"/storage/{desired.images}", "HubImages"),
        *(Grant(f"/storage/{name}", "HubDisk") for name in desired.storages if name != desired.images),
        *(Grant(f"/mapping/pci/{name}", MAPPING_USER) for name in _mappings(desired)),
        *(Grant(f"/sdn/zones/localnetwork/{name}", "HubNet") for name in (*bridges, *closed)),
    }
    return tuple(sorted(found))


def _mappings(desired: Desired) -> tuple[str, ...]:
    return (*(card.name for card in desired.cards if not card.shared), *desired.held)
