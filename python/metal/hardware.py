"""The node's machine: its PCI devices, how it boots, and what others have set there; read only where cards matter."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from aihub.names import CARD_NODES, Layout

from .desired import Desired

GRUB, SYSTEMD_BOOT = "grub", "systemd-boot"
MAPPINGS = "mappings"
"""What the list of PCI mappings is called among what is read."""
BRIDGE = "06"
_KINDS = {"01": "storage", "02": "network", "03": "display", "04": "sound", "06": "bridge", "0c": "USB or serial bus"}
_EXACT = {"0108": "NVMe disk", "0200": "network card", "0403": "sound"}


@dataclass(frozen=True)
class Device:
    """One function of a PCI device, as lspci prints it."""

    address: str  # DOMAIN:BUS:DEVICE.FUNCTION
    kind: str  # its class, four hex digits
    id: str  # VENDOR:DEVICE
    subsystem: str = ""
    revision: str = ""
    driver: str = ""
    group: int | None = None  # of the IOMMU

    @property
    def slot(self) -> str:
        """Its address without the function."""
        return self.address.rpartition(".")[0]

    @property
    def dead(self) -> bool:
        """Whether its configuration space reads as ones only: it has not come back from a reset."""
        return self.revision.lower() == "ff"

    def __str__(self) -> str:
        what = _EXACT.get(self.kind, _KINDS.get(self.kind[:2], f"class {self.kind}"))
        return f"{self.address} {self.id} ({what}{f', driver {self.driver}' if self.driver else ''})"


@dataclass(frozen=True)
class Nic:
    """A network card on the PCI bus: its name, its own MAC, and what it would be called if nobody said otherwise."""

    name: str
    mac: str
    natural: str


@dataclass(frozen=True)
class Option:
    """A line `options MODULE ...` of a file in /etc/modprobe.d."""

    path: str
    words: tuple[str, ...]  # the module, then NAME=VALUE

    def value(self, modules: Collection[str], name: str) -> str:
        """What it gives one of these modules under a name; empty where it gives nothing."""
        values = self.words[1:] if self.words[:1] and self.words[0] in modules else ()
        return next((word.partition("=")[2] for word in values if word.startswith(f"{name}=")), "")


def reading(desired: Desired) -> str:
    """The part of the reading script that is about the machine; empty where no card was ever wanted."""
    layout = Layout(desired.hub)
    wanted = "true" if desired.cards else f"ls {shlex.join(layout.cards)} {layout.link('*')} 2>/dev/null | grep -q ."
    return _SCRIPT.format(
        wanted=wanted,
        mappings=MAPPINGS,
        flags=shlex.quote(layout.flags),
        kernel=shlex.quote(layout.kernel),
        links=layout.link("*"),
        driver=shlex.quote(layout.driver_packages),
        nodes=shlex.join(CARD_NODES),
    )


# lspci prints a block for each device, a field a line, and an empty line between two.
_SCRIPT = r"""
if {wanted}; then
 ask {mappings} /cluster/mapping/pci &
 lspci -Dvmmnk 2>/dev/null | sed 's/^/pci\t/' | plain
 command -v lspci >/dev/null || printf 'fail\tlspci\tthere is none: apt-get install pciutils\n'
 printf 'value\tkernel\t%s\n' "$(uname -r)"
 printf 'value\tprocessor\t%s\n' "$(sed -n 's/^vendor_id[[:blank:]]*: *//p' /proc/cpuinfo | head -n 1)"
 printf 'value\tbooted with\t%s\n' "$(tr '\n\t' '  ' </proc/cmdline | plain)"
 printf 'value\tboot\t%s\n' "$(systemctl show --timestamp=unix -p UserspaceTimestamp --value | tr -d '@')"
 [ -f /etc/kernel/cmdline ] && printf 'value\tcmdline\t%s\n' "$(head -n 1 /etc/kernel/cmdline | tr '\t' ' ' | plain)"
 [ -f /etc/default/grub ] && printf 'value\tgrub\tyes\n'
 [ -s /etc/kernel/proxmox-boot-uuids ] && proxmox-boot-tool status 2>/dev/null |
  sed -n 's/.* is configured with: \(.*\)/loader\t\1/p' | plain
 printf 'value\tpin\t%s\n' "$(head -n 1 /etc/kernel/proxmox-boot-pin 2>/dev/null)"
 printf 'value\tpinned\t%s\n' "$(head -n 1 {kernel} 2>/dev/null)"
 printf 'value\tadded flags\t%s\n' "$(head -n 1 {flags} 2>/dev/null)"
 grep -HE '^[[:blank:]]*options[[:blank:]]+(vfio-pci|vfio_pci|zfs)[[:blank:]]' /etc/modprobe.d/*.conf 2>/dev/null |
  sed 's/^\([^:]*\):/option\t\1\t/' | plain
 printf 'value\tdriver packages\t%s\n' "$(head -n 1 {driver} 2>/dev/null)"
 printf 'value\tcard nodes\t%s\n' "$(for n in {nodes}; do [ -c "$n" ] && printf '%s ' "$n"; done)"
 apt-mark showhold 2>/dev/null | sed 's/^/held\t/' | plain
 for k in /sys/class/net/*/device; do
  i=${{k%/device}}; i=${{i##*/}}
  case "$(readlink -f "$k/subsystem")" in */pci) ;; *) continue ;; esac
  m=$(ip -o link show dev "$i" | sed -n 's/.* permaddr \([^ ]*\).*/\1/p; t; s/.*link\/ether \([^ ]*\).*/\1/p')
  n=$(for o in ONBOARD SLOT PATH; do
   udevadm info --query=property --property="ID_NET_NAME_$o" --value -p "/sys/class/net/$i"
  done 2>/dev/null | grep -m 1 .)
  printf 'nic\t%s\t%s\t%s\n' "$i" "$m" "$n"
 done | plain
 for f in /etc/systemd/network/*.link /run/systemd/network/*.link /usr/local/lib/systemd/network/*.link; do
  case "$f" in {links}) continue ;; esac
  sed -n 's/^[[:blank:]]*\(Permanent\)\{{0,1\}}MACAddress=/pinned\t/p' "$f" 2>/dev/null
 done | plain
fi
"""


def devices(lines: Iterable[str]) -> list[Device]:
    """The devices of `lspci -Dvmmnk`."""
    found: list[Device] = []
    block: dict[str, str] = {}
    for line in [*lines, ""]:
        name, _, value = line.partition(":\t")
        if name.strip():
            block.setdefault(name.strip(), value.strip())
        elif block:
            found.append(_device(block))
            block = {}
    return found


def _device(block: dict[str, str]) -> Device:
    maker, board = block.get("SVendor", ""), block.get("SDevice", "")
    group = block.get("IOMMUGroup", "")
    return Device(
        address=block["Slot"],
        kind=block["Class"],
        id=f"{block['Vendor']}:{block['Device']}",
        subsystem=f"{maker}:{board}" if maker and board else "",
        revision=block.get("Rev", ""),
        driver=block.get("Driver", ""),
        group=int(group) if group.isdigit() else None,
    )


def option(path: str, line: str) -> Option:
    """A line of a file of modprobe."""
    return Option(path, tuple(line.split()[1:]))


def loader(line: str) -> list[str]:
    """The boot loaders of one partition, as proxmox-boot-tool names them: `uefi` is systemd-boot."""
    found = [SYSTEMD_BOOT] if "uefi" in line else []
    return [*found, GRUB] if "grub" in line else found
