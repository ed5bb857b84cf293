"""Who may attach devices to a virtual machine: serial ports, USB, PCI, random numbers, shared directories."""

from __future__ import annotations

from typing import Any

from . import common
from .errors import bad_field, refuse_if
from .qemu_config import option_format
from .registry import Call
from .schema import split_property_string


def check_device(call: Call, vmid: int, pool: str | None, key: str, value: str, verb: str = "set") -> None:
    """Raises unless the caller may attach this serial port, USB, PCI, random or shared-directory device."""
    if call.is_root:
        return
    kind = key.rstrip("0123456789")
    if kind == "serial":
        refuse_if(value != "socket", f"only root can {verb} '{key}' config for real devices")
        common.check_vm(call, vmid, pool, "VM.Config.HWType")
    elif kind in ("usb", "hostpci"):
        _check_passthrough(call, vmid, pool, key, kind, value)
    elif kind == "rng":
        common.check_vm(call, vmid, pool, "VM.Config.HWType")
        if split_property_string(option_format("rng0"), value).get("source") == "/dev/hwrng":
            call.check("/mapping/hwrng", "Mapping.Use")
    elif kind == "virtiofs":
        common.check_vm(call, vmid, pool, "VM.Config.Disk")
        fields = split_property_string(option_format("virtiofs0"), value)
        call.check(f"/mapping/dir/{fields.get('dirid')}", "Mapping.Use")


def _check_passthrough(call: Call, vmid: int, pool: str | None, key: str, kind: str, value: str) -> None:
    if kind == "usb":
        common.check_vm(call, vmid, pool, "VM.Config.HWType")
    fields = split_property_string(option_format(key), value)
    if not _check_source(call, key, kind, fields):
        return
    if kind == "hostpci":
        common.check_vm(call, vmid, pool, "VM.Config.HWType")
        refuse_if(fields.get("romfile") is not None, bad_field(key, "only root@pam can set 'romfile' option"))


def _check_source(call: Call, key: str, kind: str, fields: dict[str, Any]) -> bool:
    """Whether it is a mapped device, which the caller may use; a display's own USB device is none and free."""
    if kind == "usb" and str(fields.get("host", "")).lower() == "spice":
        return False
    what = "real" if kind == "usb" else "non-mapped"
    refuse_if(fields.get("host"), f"only root can set '{key}' config for {what} devices")
    refuse_if(not fields.get("mapping"), "either 'host' or 'mapping' must be set.")
    call.check(f"/mapping/{'usb' if kind == 'usb' else 'pci'}/{fields['mapping']}", "Mapping.Use")
    return True


def check_mappings(call: Call, values: dict[str, str]) -> None:
    """Raises unless the caller may use what a copied or restored machine passes through."""
    for key, value in sorted(values.items()) if not call.is_root else ():
        kind = key.rstrip("0123456789")
        if kind not in ("usb", "hostpci", "rng", "virtiofs"):
            continue
        fields = split_property_string(option_format(key), value)
        if kind == "virtiofs" or fields.get("source") == "/dev/hwrng":
            call.check("/mapping/hwrng" if kind == "rng" else f"/mapping/dir/{fields.get('dirid')}", "Mapping.Use")
        elif kind != "rng":
            _check_source(call, key, kind, fields)
