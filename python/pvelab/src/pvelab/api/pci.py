"""The PCI devices of the node, and what Proxmox VE asks of them before a machine is started with one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..backend import Card
from .errors import failure

VENDORS = {"10de": "NVIDIA Corporation", "1002": "AMD/ATI", "8086": "Intel Corporation"}
AUDIO = {"2b85": "22e8", "2503": "228e", "2504": "228e"}  # the sound function of a card, by its display function
NO_GROUP = -1  # what PVE says of a node without IOMMU


@dataclass(frozen=True)
class Device:
    """One function of a PCI device. `driver` has it after a boot that lets no other take it; empty: none."""

    address: str  # DOMAIN:BUS:DEVICE.FUNCTION
    kind: str  # its class, six hex digits
    vendor: str
    device: str
    subsystem_vendor: str = ""
    subsystem_device: str = ""
    group: int = NO_GROUP
    driver: str = ""
    name: str = "simulated"
    revision: str = "a1"
    memory: int = 0  # of a display card, in MiB, where a test says more than its id does

    @property
    def dead(self) -> bool:
        """Whether it reads as ones only, as after a reset that it did not come back from."""
        return self.revision == "ff"

    @property
    def is_display(self) -> bool:
        """Whether it is what a display card computes with, and not its sound."""
        return self.kind.startswith("03")

    def as_card(self) -> Card:
        """It as a machine gets it."""
        return Card(self.address, f"{self.vendor}:{self.device}", self.memory, not self.dead)

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Device:
        """A device as a lab's configuration names it. Raises TypeError for what it does not know."""
        return cls(**{**item, "group": int(item.get("group", NO_GROUP)), "memory": int(item.get("memory", 0))})

    def as_json(self) -> dict[str, Any]:
        """It as `parse` reads it."""
        return asdict(self)

    def listed(self) -> dict[str, Any]:
        """It as /nodes/NODE/hardware/pci has it."""
        found: dict[str, Any] = {
            "id": self.address, "class": f"0x{self.kind}", "vendor": f"0x{self.vendor}", "device": f"0x{self.device}",
            "iommugroup": self.group, "vendor_name": VENDORS.get(self.vendor, self.vendor), "device_name": self.name,
        }  # fmt: skip
        if self.subsystem_vendor and self.subsystem_device:
            maker = VENDORS.get(self.subsystem_vendor, self.subsystem_vendor)
            found |= {"subsystem_vendor": f"0x{self.subsystem_vendor}", "subsystem_vendor_name": maker}
            found |= {"subsystem_device": f"0x{self.subsystem_device}"}
        return found


def of_card(number: int, name: str, ident: str, memory: int = 0) -> tuple[Device, Device]:
    """The two functions of a graphics card that only its name and id are known of, in a group of its own."""
    vendor, _, device = ident.partition(":")
    sound = AUDIO.get(device, "22e9")
    address, group = f"0000:{number:02x}:00", 10 + number
    return (
        Device(
            f"{address}.0", "030000", vendor, device, vendor, device, group, name=f"{name} (simulated)", memory=memory
        ),
        Device(f"{address}.1", "040300", vendor, sound, vendor, sound, group, name=f"{name} audio (simulated)"),
    )


def matching(devices: Iterable[Device], path: str) -> list[Device]:
    """The functions that a path of a configuration means: without a function it is the whole device."""
    whole = path if path.count(":") == 2 else f"0000:{path}"
    return [one for one in devices if one.address == whole or ("." not in whole and one.address[:-2] == whole)]


def check_mapping(devices: Iterable[Device], name: str, fields: Mapping[str, str]) -> None:
    """Raises what PVE says of a mapping that is not what the node has."""
    known = {device.address: device for device in devices}
    for number, path in enumerate(fields.get("path", "").split(";")):
        address = path if "." in path else f"{path}.0"
        found = known.get(address)
        if found is None:
            raise failure(f"pci device '{address}' not found")
        expected = {"id": f"{found.vendor}:{found.device}", "iommugroup": str(found.group), "subsystem-id": None}
        if found.subsystem_vendor and found.subsystem_device:
            expected["subsystem-id"] = f"{found.subsystem_vendor}:{found.subsystem_device}"
        for prop, wanted in sorted(expected.items()):
            if prop == "iommugroup" and number:
                continue  # only the first device's is looked at
            _check_property(name, address, prop, wanted, fields.get(prop))


def _check_property(name: str, address: str, prop: str, wanted: str | None, has: str | None) -> None:
    if wanted is None and has is None:
        return
    if has is None:
        raise failure(f"missing expected property '{prop}' for device '{address}'")
    if wanted is None:
        raise failure(f"unexpected property '{prop}' configured for device '{address}'")
    if wanted != has.replace("0x", ""):
        raise failure(f"'{prop}' does not match for '{name}' ({wanted} != {has.replace('0x', '')})")


def parsed(text: str) -> dict[str, str]:
    """A property string of a mapping."""
    return dict(part.partition("=")[::2] for part in text.split(","))


def of_node(entry: Mapping[str, Any], node: str) -> Iterator[dict[str, str]]:
    """The parts of a mapping that are about a node."""
    yield from (fields for fields in map(parsed, entry["map"]) if fields.get("node") == node)


def passed(
    devices: Iterable[Device], mappings: Mapping[str, Mapping[str, Any]], node: str, values: Mapping[str, str]
) -> list[Device]:
    """The devices that a machine gets by its hostpciN, in their order; of several that one may mean, the first."""
    known, found = list(devices), list[Device]()
    for number in range(16):
        parts = parsed(values.get(f"hostpci{number}", ""))
        host = parts.get("host") or next((key for key, value in parts.items() if key and not value), "")
        if entry := mappings.get(parts.get("mapping", "")):
            host = next((fields["path"] for fields in of_node(entry, node)), "")
        found += [one for path in host.split(";") if path for one in matching(known, path)]
    return found
