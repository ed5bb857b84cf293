"""What makes Proxmox VE refuse a virtual machine as a whole: no configuration, options that contradict each other."""

from __future__ import annotations

from .errors import failure, refuse_if
from .pve import Pve
from .qemu_config import Fields, option_format
from .schema import split_property_string

CLIPBOARDS = ("std", "cirrus", "vmware", "virtio", "qxl")  # how the types begin that VNC's clipboard works with


def check_exists(pve: Pve, vmid: int) -> None:
    """Raises unless the node has a machine of this VMID."""
    found = pve.guests.get(vmid)
    if found is None or found.kind != "qemu":
        raise failure(f"unable to find configuration file for VM {vmid} on node '{pve.node.name}'")


def machine_fields(text: str | None) -> Fields:
    """The fields of `machine`."""
    return split_property_string(option_format("machine"), text or "")


def is_q35(text: str | None) -> bool:
    """Whether a machine type is a q35."""
    return "q35" in str(machine_fields(text).get("type", ""))


def check_machine(text: str | None) -> None:
    """Raises when the fields of `machine` contradict each other."""
    fields = machine_fields(text)
    bits = float(fields.get("aw-bits", 0))
    if fields.get("viommu") == "intel":
        refuse_if(not is_q35(text), "to use Intel vIOMMU please set the machine type to q35")
        refuse_if(bits not in (0, 39, 48), "Intel vIOMMU supports only 39 or 48 bits as address width")
    refuse_if(bits and not fields.get("viommu"), "cannot set aw-bits if no vIOMMU is configured")


def check_vga(text: str | None) -> None:
    """Raises when a display type has no clipboard over VNC."""
    fields = split_property_string(option_format("vga"), text or "")
    kind = str(fields.get("type", "std"))
    if fields.get("clipboard") == "vnc" and not kind.startswith(CLIPBOARDS):
        raise failure(f"vga type {kind} is not compatible with VNC clipboard")
