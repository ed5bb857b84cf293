"""The catalogue of OS images that guests are made from: the same volumes in the lab and on a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ImageName = Literal["debian-13", "ubuntu-24.04"]
Kind = Literal["lxc", "vm"]
USUAL: ImageName = "debian-13"
WITH_CARD: ImageName = "ubuntu-24.04"
"""What NVIDIA's drivers come ready built and signed for."""


@dataclass(frozen=True)
class Source:
    """One image: what it is called on the node's storage, where its maker has it, and what it must be."""

    volume: str
    url: str
    algorithm: Literal["sha256", "sha512"]
    checksum: str

    def fetch(self, node: str) -> str:
        """The command by which root brings it onto a node's storage; Proxmox compares the checksum."""
        storage, _, path = self.volume.partition(":")
        content, _, name = path.partition("/")
        place = f"pvesh create /nodes/{node}/storage/{storage}/download-url"
        what = f"--content {content} --filename {name} --url {self.url}"
        return f"{place} {what} --checksum-algorithm {self.algorithm} --checksum {self.checksum}"


@dataclass(frozen=True)
class Image:
    """An operating system that guests run."""

    title: str
    package_hosts: str
    """Where it takes packages from, as the way out knows it."""
    sources: Mapping[Kind, Source]


_PROXMOX = "http://download.proxmox.com/images/system"  # there is no HTTPS; the checksum is what counts
CATALOGUE: Mapping[ImageName, Image] = {
    "debian-13": Image(
        "Debian 13",
        "*.debian.org",
        {
            "lxc": Source(
                "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst",
                f"{_PROXMOX}/debian-13-standard_13.1-2_amd64.tar.zst",
                "sha512",
                "5aec4ab2ac5c16c7c8ecb87bfeeb10213abe96db6b85e2463585cea492fc861d"
                "7c390b3f9c95629bf690b95e9dfe1037207fc69c0912429605f208d5cb2621f8",
            ),
            "vm": Source(
                "local:import/debian-13-genericcloud-amd64.qcow2",
                "https://cloud.debian.org/images/cloud/trixie/20260914-2601/"
                "debian-13-genericcloud-amd64-20260914-2601.qcow2",
                "sha512",
                "95e110dfcdbd0ed8a82a75ed9579802f9950cabf51a810dcc6388e81bc778188"
                "713878b9f28d583a0ea602fbf48b35996ae9ad37f584166d8fbd6489df248f53",
            ),
        },
    ),
    "ubuntu-24.04": Image(
        "Ubuntu 24.04",
        "*.ubuntu.com",
        {
            "lxc": Source(
                "local:vztmpl/ubuntu-24.04-standard_24.04-2_amd64.tar.zst",
                f"{_PROXMOX}/ubuntu-24.04-standard_24.04-2_amd64.tar.zst",
                "sha512",
                "45c2978e6b97fe292ada95fe06834276015e5739a594db4de2fdfd830fa0c379"
                "42e8ae118fc1e32ffd9154b3f9378b592738b668ea3957db41f2907b86f219de",
            ),
            "vm": Source(
                # Ubuntu's .img is a qcow2, and Proxmox imports nothing that is called .img.
                "local:import/ubuntu-24.04-server-cloudimg-amd64.qcow2",
                "https://cloud-images.ubuntu.com/releases/noble/release-20260814/ubuntu-24.04-server-cloudimg-amd64.img",
                "sha256",
                "6e40c07ae715f744f84af0bec76415cc1987dd115b4b8de437818561f01a3733",
            ),
        },
    ),
}


def usual(kind: str, gpu: str | None) -> ImageName:
    """What a guest is made from where hub.yml does not say; one that shares its node's driver has the node's system."""
    return WITH_CARD if gpu and kind == "vm" else USUAL
