#!/usr/bin/python3
"""The lab's `lspci`: shows the PCI bus that this lab's node pretends. Not the program of pciutils.

A device has the driver that the node was booted with: `lab-boot.service` keeps what the lab's own update-initramfs
had put aside by then. What the stand-in for NVIDIA's driver has loaded since has its cards.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

PVESH = "/usr/bin/pvesh"
DRIVEN = Path("/dev/lab-driver/cards")
BOOTED = Path("/run/lab-boot/modprobe.json")


def claimed(lines: list[str]) -> tuple[set[str], set[str]]:
    """The ids that vfio-pci takes at boot, and the drivers that are not loaded by themselves."""
    words = [line.split() for line in lines]
    ids = [word[4:] for line in words if line[:2] in (["options", "vfio-pci"], ["options", "vfio_pci"])
           for word in line[2:] if word.startswith("ids=")]  # fmt: skip
    return {ident for text in ids for ident in text.lower().split(",")}, {w[1] for w in words if w[:1] == ["blacklist"]}


def block(device: dict[str, Any], ids: set[str], barred: set[str], driven: Collection[str] = ()) -> str:
    """One device as `lspci -Dvmmnk` prints it; `driven` are the cards that the node's own driver has."""
    driver = "" if device["driver"] in barred else device["driver"]
    if device["address"] in driven:
        driver = "nvidia"
    if f"{device['vendor']}:{device['device']}" in ids:
        driver = "vfio-pci"
    lines = [
        ("Slot", device["address"]),
        ("Class", device["kind"][:4]),
        ("Vendor", device["vendor"]),
        ("Device", device["device"]),
        ("SVendor", device["subsystem_vendor"]),
        ("SDevice", device["subsystem_device"]),
        ("Rev", device["revision"]),
        ("Driver", driver),
        ("Module", device["driver"]),
        ("IOMMUGroup", str(device["group"]) if device["group"] >= 0 else ""),
    ]
    return "".join(f"{name}:\t{value}\n" for name, value in lines if value) + "\n"


def _api() -> Any:
    """The API of this lab, by the way of the lab's own pvesh, which is no module by its name."""
    loader = SourceFileLoader("pvesh", PVESH)
    found = module_from_spec(spec_from_loader("pvesh", loader))  # type: ignore[arg-type]
    loader.exec_module(found)
    return found.Api()


def main() -> int:
    """Prints the bus; 1 for options that the lab does not know."""
    if sys.argv[1:] != ["-Dvmmnk"]:
        sys.stderr.write("the lab's lspci knows `lspci -Dvmmnk` alone\n")
        return 1
    lines = json.loads(BOOTED.read_text()) if BOOTED.exists() else []
    ids, barred = claimed(lines)
    driven = DRIVEN.read_text().split() if DRIVEN.exists() else []
    for device in _api().call("GET", "/pvelab/pci"):
        sys.stdout.write(block(device, ids, barred, driven))
    return 0


if __name__ == "__main__":
    sys.exit(main())
