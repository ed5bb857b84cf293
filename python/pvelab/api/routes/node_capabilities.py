"""What the node's QEMU can: machine types, CPU models and flags."""

from __future__ import annotations

from typing import Any

from ..cpu_models import FLAGS, MODELS
from ..registry import Call, index, route

BASE = "/nodes/{node}/capabilities"
QEMU = BASE + "/qemu"
index(BASE, "name", "qemu")
index(QEMU, "name", "cpu", "cpu-flags", "machines", "migration")
VERSIONS = (
    "11.0+pve2", "11.0+pve1", "11.0", "10.2", "10.1", "10.0+pve1", "10.0", "9.2+pve1", "9.2", "9.1", "9.0", "8.2",
    "8.1", "8.0", "7.2", "7.1", "7.0", "6.2", "6.1", "6.0", "5.2", "5.1", "5.0", "4.2", "4.1+pve2", "4.1+pve1", "4.1",
    "4.0", "3.1", "3.0",
)  # fmt: skip
CHANGES = {
    "11.0+pve2": "Enlightened VMCS for newer Windows guests.",
    "11.0+pve1": "VirtIO network cards without host tunnel.",
    "10.0+pve1": "The host's MTU is always given to network cards.",
    "9.2+pve1": "S3 and S4 are off.",
    "4.1+pve2": "More SCSI drives.",
    "4.1+pve1": "No changes.",
}
AMD = ("EPYC", "Opteron", "phenom", "athlon")
GENERIC = ("host", "max", "kvm32", "kvm64", "qemu32", "qemu64")
MEANING = {
    "nested-virt": "Nested virtualization: 'svm' of AMD, 'vmx' of Intel.",
    "md-clear": "The guest can tell that MDS is mitigated.",
    "pcid": "Cheaper Meltdown fix on older Intel CPUs.",
    "spec-ctrl": "Better Spectre mitigation with Intel CPUs.",
    "ssbd": "Protection from Speculative Store Bypass for Intel models.",
    "ibpb": "Better Spectre mitigation with AMD CPUs.",
    "virt-ssbd": "Basis of the Speculative Store Bypass protection for AMD models.",
    "amd-ssbd": "Faster Spectre mitigation with AMD CPUs.",
    "amd-no-ssb": "The guest can tell that an AMD host is not vulnerable.",
    "pdpe1gb": "Pages of 1 GB in the guest.",
    "hv-tlbflush": "Faster overcommitted Windows guests.",
    "hv-evmcs": "Faster nested virtualization on Intel.",
    "aes": "AES instructions.",
}


@route("GET", QEMU + "/machines")
def machines(call: Call) -> list[dict[str, str]]:
    """The versioned machine types, the latest first."""
    if call.get("arch", "x86_64") != "x86_64":
        return [{"id": f"virt-{v}", "type": "virt", "version": v} for v in VERSIONS if "+" not in v]
    found = []
    for version in VERSIONS:
        for kind in ("i440fx", "q35"):
            entry = {"id": f"pc-{kind}-{version}", "type": kind, "version": version}
            found.append({**entry, "changes": CHANGES[version]} if version in CHANGES else entry)
    return found


@route("GET", QEMU + "/cpu")
def cpus(call: Call) -> list[dict[str, Any]]:
    """The CPU models."""
    found: list[dict[str, Any]] = []
    for name in MODELS.split():
        generic = name in GENERIC or name.startswith("x86-64")
        vendor = "default" if generic else "AuthenticAMD" if name.startswith(AMD) else "GenuineIntel"
        entry: dict[str, Any] = {"name": name, "custom": 0, "vendor": vendor}
        found.append({**entry, "abstract": 1} if name.startswith("x86-64-v") else entry)
    return found


@route("GET", QEMU + "/cpu-flags")
def cpu_flags(call: Call) -> list[dict[str, Any]]:
    """The CPU flags that a machine may set, and the nodes that have them."""
    if call.get("arch") == "aarch64":
        return []
    names = sorted(FLAGS.split(), key=lambda name: (name != "nested-virt", name))
    return [{"name": n, "description": MEANING[n], "supported-on": [call.pve.node.name]} for n in names]


@route("GET", QEMU + "/migration")
def migration(call: Call) -> dict[str, Any]:
    """What the node can while it migrates a machine."""
    return {"has-dbus-vmstate": True}
