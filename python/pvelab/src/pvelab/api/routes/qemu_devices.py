"""What the start of a virtual machine looks at, in PVE's order: what it lacks ends it, what it ignores is warned of."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .. import common, qemu_config, volumes
from ..errors import ApiError, failure, refuse_if
from ..guestconf import GuestConf, Values
from ..pci import Device, check_mapping, matching, of_node
from ..qemu_checks import check_machine, is_q35
from ..registry import Call
from ..schema import split_property_string
from ..tasks import Log
from ..volume_features import DRIVE_NAMES
from ..words import truth

PORTS = re.compile(r"/dev/ttyS[0-3]")  # the four that Debian's kernel makes, whatever the hardware
NO_Q35 = "q35 machine model is not enabled at /usr/share/perl5/PVE/QemuServer/PCI.pm line 510."


def check_start(call: Call, conf: GuestConf, log: Log) -> None:
    """Raises what PVE says instead of starting the machine."""
    values = conf.values
    volumes.activate(call.pve, *_volumes(values))
    if values.get("bios") == "ovmf" and "efidisk0" not in values and not _own_firmware(values):
        log.warn("no efidisk configured! Using temporary efivars disk.")
    cards = {key: _card(call, key, text, is_q35(values.get("machine"))) for key, text in _numbered(values, "hostpci")}
    _reserve(call, conf.vmid, cards)
    for device in [device for choices in cards.values() for device in choices[0] if device.dead]:
        log(f"kvm: -device vfio-pci,host={device.address}: vfio {device.address}: Unknown PCI header type '127'")
        raise failure("start failed: QEMU exited with code 1")
    for key, text in _numbered(values, "usb"):
        _check_usb(call, key, text)
    for _, path in _numbered(values, "serial"):
        refuse_if(path != "socket" and not PORTS.fullmatch(path), "no such serial device")
    if int(values.get("sockets", 1)) * int(values.get("cores", 1)) > call.pve.node.cores:
        raise failure(f"MAX {call.pve.node.cores} vcpus allowed per VM on this node")
    _warn_of_threads(values, log)
    _warn_of_mtu(values, log)
    check_machine(values.get("machine"))
    _check_bridges(call, conf)


def _numbered(values: Values, kind: str) -> Iterator[tuple[str, str]]:
    found = [(int(match[1]), key) for key in values if (match := re.fullmatch(rf"{kind}(\d+)", key))]
    for _, key in sorted(found):
        yield key, values[key]


def _volumes(values: Values) -> list[str]:
    """What must be there; a cloud-init drive is made anew at every start."""
    found: list[str] = []
    for key in DRIVE_NAMES:
        fields = qemu_config.parse_drive(key, values[key]) if key in values else None
        if fields and not qemu_config.is_cloudinit(fields):
            found.append(str(fields["file"]))
    return [volid for volid in (*found, values.get("vmstate", "")) if volumes.VOLUME_ID.fullmatch(volid)]


def _own_firmware(values: Values) -> bool:
    """Whether the machine is a confidential one whose firmware keeps no variables."""
    return "intel-tdx" in values or "snp" in values.get("amd-sev", "")


def _card(call: Call, key: str, text: str, q35: bool) -> list[list[Device]]:
    """The devices that a hostpciN may mean, each choice with all its functions. Raises what PVE says of a wrong one."""
    fields = split_property_string(qemu_config.option_format(key), text)
    host, mapping = fields.get("host"), fields.get("mapping")
    refuse_if(host and mapping, "Cannot set both 'host' and 'mapping'.")
    refuse_if(not host and not mapping, "Either 'host' or 'mapping' must be set.")
    paths = _mapped(call, str(mapping)) if mapping else [str(host)]
    choices = [_functions(call, path) for path in paths]
    refuse_if(truth(fields.get("pcie")) and not q35, failure(NO_Q35))
    return choices


def _mapped(call: Call, name: str) -> list[str]:
    """The paths that a mapping has for this node. Raises when the hardware is no longer what it says."""
    entry = call.pve.table("mapping_pci").get(name)
    mine = list(of_node(entry, call.pve.node.name)) if entry else []
    refuse_if(not mine, f"PCI device mapping not found for '{name}'")
    for fields in mine:
        try:
            check_mapping(call.pve.devices, name, fields)
        except ApiError as error:
            raise failure(f"PCI device mapping invalid (hardware probably changed): {error.message}") from error
    return [fields["path"] for fields in mine]


def _functions(call: Call, path: str) -> list[Device]:
    found: list[Device] = []
    for address in path.split(";"):
        these = matching(call.pve.devices, address)
        refuse_if(not these, f"no PCI device found for '{address}'")
        found += these
    return found


def _reserve(call: Call, vmid: int, cards: dict[str, list[list[Device]]]) -> None:
    """Raises when a machine that runs has a device that this one can't do without."""
    held = _held(call, vmid) if cards else {}
    for key, choices in cards.items():
        free = [choice for choice in choices if not any(device.address in held for device in choice)]
        if not free and len(choices) > 1:
            raise failure(f"could not find a free device for '{key}'")
        for device in choices[0] if not free else ():
            if device.address in held:
                raise failure(f"PCI device '{device.address}' already in use by VMID '{held[device.address]}'")
    if cards and all(device.group < 0 for device in call.pve.devices):
        raise failure("cannot prepare PCI pass-through, IOMMU not present")


def _held(call: Call, vmid: int) -> dict[str, int]:
    """The devices that other machines run with."""
    pve, found = call.pve, dict[str, int]()
    for conf in pve.guests.all():
        if conf.kind != "qemu" or conf.vmid == vmid or not pve.running(conf.vmid):
            continue
        for key, text in _numbered(conf.values, "hostpci"):
            fields = split_property_string(qemu_config.option_format(key), text)
            entry = pve.table("mapping_pci").get(str(fields.get("mapping")))
            paths = [f["path"] for f in of_node(entry, pve.node.name)] if entry else [str(fields.get("host", ""))]
            for path in paths:
                found |= {d.address: conf.vmid for one in path.split(";") for d in matching(pve.devices, one)}
    return found


def _check_usb(call: Call, key: str, text: str) -> None:
    fields = split_property_string(qemu_config.option_format(key), text)
    host, mapping = fields.get("host"), fields.get("mapping")
    if mapping and not host and mapping not in call.pve.table("mapping_usb"):
        raise failure(f"USB device mapping not found for '{mapping}'")
    refuse_if(bool(host) == bool(mapping) and host != "spice", "no usb id or path given")


def _warn_of_threads(values: Values, log: Log) -> None:
    if values.get("scsihw") == "virtio-scsi-single":
        return
    for key, text in _numbered(values, "scsi"):
        if truth((qemu_config.parse_drive(key, text) or {}).get("iothread")):
            log.warn("iothread is only valid with virtio disk or virtio-scsi-single controller, ignoring")


def _warn_of_mtu(values: Values, log: Log) -> None:
    for key, text in _numbered(values, "net"):
        net = qemu_config.parse_net(text)
        if net.get("mtu") is None or (net.get("model") == "virtio" and net.get("bridge")):
            continue
        why = "not using VirtIO" if net.get("bridge") else "no bridge configured"
        log.warn(f"netdev {key}: ignoring MTU '{net['mtu']}', {why}")


def _check_bridges(call: Call, conf: GuestConf) -> None:
    known = common.bridges(call.pve)
    for _, text in _numbered(conf.values, "net"):
        bridge = qemu_config.parse_net(text).get("bridge")
        refuse_if(bridge and bridge not in known, f"bridge '{bridge}' does not exist")
