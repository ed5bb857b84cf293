"""Reads what an OVF manifest says of a machine: name, cores, memory, disks and network cards."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .errors import failure

OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
VMW = "{http://www.vmware.com/schema/ovf}"
PROCESSOR, MEMORY, DISK, NIC = "3", "4", "17", "10"
CONTROLLERS = {"5": "ide", "6": "scsi", "20": "sata"}
NICS = ("e1000", "e1000e", "vmxnet3")


def read(path: Path, shown: str, packed: bool) -> ElementTree.Element:
    """The manifest, out of its archive where it is packed."""
    if not packed:
        if not path.is_file():
            raise failure(f"can't open '{shown}' - No such file or directory")
        text = path.read_text(errors="replace")
    else:
        command = f"tar -xO --wildcards --occurrence=1 -f {shown} *.ovf"
        try:
            text = _unpacked(path)
        except (OSError, tarfile.TarError, StopIteration) as error:
            raise failure(f"command '{command}' failed: exit code 2") from error
    if "<!DOCTYPE" in text:
        raise failure("could not parse the OVF manifest: document types are not allowed")
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - no document type, so nothing expands
    except ElementTree.ParseError as error:
        raise failure(f"could not parse the OVF manifest: {error}") from error


def _unpacked(path: Path) -> str:
    with tarfile.open(path) as archive:
        member = next(item for item in archive if item.name.endswith(".ovf"))
        opened = archive.extractfile(member)
        return opened.read().decode("utf-8", "replace") if opened else ""


def metadata(root: ElementTree.Element, sid: str, name: str, packed: bool) -> dict[str, Any]:
    """What GET import-metadata answers of a manifest."""
    hardware = f"{OVF}VirtualSystem/{OVF}VirtualHardwareSection"
    items = root.findall(f"{hardware}/{OVF}Item")
    warnings: list[dict[str, str]] = [{"type": "ova-needs-extracting"}] if packed else []
    arguments: dict[str, Any] = {"cores": _quantity(items, PROCESSOR), "memory": _quantity(items, MEMORY)}
    arguments["ostype"] = "other"
    title = root.findtext(f"{OVF}VirtualSystem/{OVF}Name") or ""
    if title:
        arguments["name"] = re.sub(r"[^a-zA-Z0-9\-.]", "", re.sub(r"\s+", "-", title))
    disks: dict[str, Any] = {}
    for item in _of_type(items, DISK):
        _add_disk(disks, root, items, item, f"{sid}:{name}" if packed else f"{sid}:import")
    for config in root.findall(f"{hardware}/{VMW}Config"):
        if config.get(f"{VMW}key") == "firmware" and config.get(f"{VMW}value") == "efi":
            arguments["bios"], disks["efidisk0"] = "ovmf", 1
            warnings.append({"type": "efi-state-lost", "key": "bios", "value": "ovmf"})
    nets = {f"net{n}": {"model": _model(item)} for n, item in enumerate(_of_type(items, NIC))}
    found = {"type": "vm", "source": name, "create-args": arguments, "disks": disks}
    return {**found, "warnings": warnings, "net": nets}


def _of_type(items: list[ElementTree.Element], kind: str) -> list[ElementTree.Element]:
    return [item for item in items if item.findtext(f"{RASD}ResourceType") == kind]


def _quantity(items: list[ElementTree.Element], kind: str) -> str:
    return "".join(item.findtext(f"{RASD}VirtualQuantity") or "" for item in _of_type(items, kind))


def _model(item: ElementTree.Element) -> str:
    model = (item.findtext(f"{RASD}ResourceSubType") or "").lower()
    return model if model in NICS else "e1000"


def _add_disk(
    disks: dict[str, Any],
    root: ElementTree.Element,
    items: list[ElementTree.Element],
    item: ElementTree.Element,
    at: str,
) -> None:
    resource = re.fullmatch(r"(?:ovf:)?/[\w\-.~]+/([\w\-.~]+)", item.findtext(f"{RASD}HostResource") or "")
    parent = item.findtext(f"{RASD}Parent")
    owner = next((i for i in items if i.findtext(f"{RASD}InstanceID") == parent), None)
    bus = CONTROLLERS.get((owner.findtext(f"{RASD}ResourceType") or "") if owner is not None else "")
    if not resource or bus is None:
        return
    disk = next((d for d in root.iter(f"{OVF}Disk") if d.get(f"{OVF}diskId") == resource[1]), None)
    reference = disk.get(f"{OVF}fileRef") if disk is not None else None
    file = next((f for f in root.iter(f"{OVF}File") if f.get(f"{OVF}id") == reference), None)
    href = file.get(f"{OVF}href") if file is not None else None
    if disk is None or not href:
        return
    if not re.fullmatch(r"[ a-zA-Z0-9\-.+=_]+", href) or href in (".", ".."):
        raise failure(f"referenced path '{href}' is invalid")
    entry: dict[str, Any] = {"volid": f"{at}/{href}"}
    unit = re.fullmatch(r"\s*byte\s*\*\s*(\d+)\s*\^\s*(\d+)\s*", disk.get(f"{OVF}capacityAllocationUnits") or "")
    if unit:
        entry["size"] = int(disk.get(f"{OVF}capacity") or 0) * int(unit[1]) ** int(unit[2])
    disks[f"{bus}{item.findtext(f'{RASD}AddressOnParent') or ''}"] = entry
