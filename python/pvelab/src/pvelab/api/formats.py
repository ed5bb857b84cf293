"""The named formats of the schema: each raises ValueError with PVE's text, or returns nothing.

PVE's patterns end with Perl's `$`, which also matches before a last line feed: a value may end with one.
Names of entries may not: PVE would write a file with them that it can't read again.
"""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path

from . import calendarevent
from .errors import existing, refuse_if
from .privileges import PRIVILEGES
from .tables import table
from .words import parse_size, split_list

Check = Callable[[str], None]
DISKS = "ide[0-3]|sata[0-5]|scsi([0-9]|[12][0-9]|30)|virtio([0-9]|1[0-5])"
DRIVES = re.compile(rf"({DISKS}|efidisk0|tpmstate0)")
BOOTABLE = re.compile(rf"{DISKS}|net([0-9]|[12][0-9]|3[01])|usb([0-9]|1[0-3])|hostpci([0-9]|1[0-5])")
CONTENT_TYPES = {"images", "rootdir", "vztmpl", "iso", "backup", "snippets", "none", "import"}
OCTET = "(?:25[0-5]|(?:2[0-4]|1[0-9]|[1-9])?[0-9])"
IPV4 = re.compile(rf"(?:{OCTET}\.){{3}}{OCTET}")
DNS_NAME = re.compile(r"([a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?")
WHOLE = r"\Z"
REALM = r"[A-Za-z][A-Za-z0-9.\-_]+"
TOKEN = re.compile(rf"([^\s:/]+@{REALM})!([A-Za-z][A-Za-z0-9.\-_]+)")


def bare(value: str) -> str:
    """A value without the one line feed that `$` lets pass at its end."""
    return value.removesuffix("\n")


def matching(pattern: str, text: str, how: str = "") -> Check:
    """A check against a pattern; `{}` in the text is the value. `how`: i any case, s any character, z to the end."""
    flags = (re.I if "i" in how else 0) | (re.S if "s" in how else 0)
    compiled = re.compile(f"(?:{pattern}){WHOLE if 'z' in how else '$'}", flags)
    return demand(lambda value: bool(compiled.match(value)), text, exact=True)


def demand(test: Callable[[str], bool], text: str, exact: bool = False) -> Check:
    """A check by a predicate; an exact one sees the value's last line feed too."""

    def check(value: str) -> None:
        if not test(value if exact else bare(value)):
            raise ValueError(text.replace("{}", value))

    return check


def is_ipv4(text: str) -> bool:
    """Whether a text is a dotted IPv4 address."""
    return bool(IPV4.fullmatch(text))


def is_ipv6(text: str) -> bool:
    """Whether a text is an IPv6 address."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def is_cidr(text: str, version: int) -> bool:
    """Whether a text is ADDRESS/LENGTH with a length that PVE allows."""
    address, slash, length = text.partition("/")
    if not slash or not length.isdigit() or not 7 < int(length) <= (32 if version == 4 else 128):
        return False
    return is_ipv4(address) if version == 4 else is_ipv6(address)


def storage_id(value: str) -> None:
    """An id of at least two characters that starts with a letter."""
    refuse_if(len(value) < 2, ValueError(f"storage ID '{value}' cannot be shorter than 2 characters"))
    if not re.fullmatch(r"[a-z][a-z0-9\-_.]*[a-z0-9]", value, re.I):
        raise ValueError(f"storage ID '{value}' contains illegal characters")


def pool_id(value: str) -> None:
    """A pool name of at most three levels."""
    if len(value.rstrip("/").split("/")) > 3:
        raise ValueError(f"pool name '{value}' nested too deeply (max levels = 3)")
    if not re.fullmatch(r"[A-Za-z0-9.\-_]+(?:/[A-Za-z0-9.\-_]+){0,2}", value):
        raise ValueError(f"pool name '{value}' contains invalid characters")


def user_id(value: str) -> None:
    """NAME@REALM."""
    value = "" if value == "0" else value
    refuse_if(len(value) < 3, ValueError(f"user name '{value}' is too short"))
    refuse_if(len(value) > 64, ValueError(f"user name '{value}' is too long ({len(value)} > 64)"))
    if not re.fullmatch(rf"[^\s:/]+@{REALM}", value):
        raise ValueError(f"value '{value}' does not look like a valid user name")


def startup_order(value: str) -> None:
    """order=N,up=N,down=N."""
    parts = [part for part in bare(value).split(",") if part.strip()]
    if value in ("", "0") or not all(re.fullmatch(r"(order=)?\d+|up=\d+|down=\d+", part) for part in parts):
        raise ValueError("unable to parse startup options")


def hotplug(value: str) -> None:
    """A list of hotplug features, 0 or 1."""
    if value in ("0", "1"):
        return
    for feature in split_list(value):
        if feature not in ("network", "disk", "cpu", "memory", "usb", "cloudinit"):
            raise ValueError(f"invalid hotplug feature '{feature}'")


def volume_or_path(value: str) -> None:
    """STORAGE:VOLUME or an absolute path."""
    if not value.startswith("/"):
        volume(value)


def volume_or_qm_path(value: str) -> None:
    """As before, or `none` or `cdrom`."""
    if value not in ("none", "cdrom"):
        volume_or_path(value)


def vlan(value: str) -> None:
    """A VLAN tag or a range of them."""
    pattern = r"(\d+)(?:-(\d+))?"
    found = existing(re.fullmatch(pattern, bare(value)), ValueError(f"invalid VLAN configuration '{value}'"))
    for tag in (found[1], found[2]):
        refuse_if(tag and not 2 <= int(tag) <= 4094, ValueError(f"invalid VLAN tag '{tag}'"))
    if found[2] and int(found[1]) >= int(found[2]):
        raise ValueError(f"VLAN range must go from lower to higher tag '{value}'")


def dir_override(value: str) -> None:
    """CONTENT=RELATIVE PATH."""
    kind, equals, path = value.partition("=")
    if not equals or not re.fullmatch(r"[a-z]+", kind) or not path or ".." in path or path.endswith("."):
        raise ValueError(f"invalid override '{value}'")
    content_type(kind)


def storage_pair(value: str) -> None:
    """SOURCE:TARGET, one id, or 1."""
    found = re.fullmatch(r"([^:]+):([^:]+)", value)
    for part in found.groups() if found else () if value in ("0", "1") else (value,):
        try:
            storage_id(part)
        except ValueError as error:
            raise ValueError(f"entry '{value}' contains invalid ID - {error}\n\n") from None


volume = matching(r"[a-z][a-z0-9\-_.]*[a-z0-9]:.+", "unable to parse volume ID '{}'", "i")
content_type = demand(CONTENT_TYPES.__contains__, "invalid content type '{}'", exact=True)
dns_name = demand(lambda v: bool(DNS_NAME.fullmatch(v)), "value does not look like a valid DNS name")
iface = matching(r"[a-z][a-z0-9_]{1,20}([:.]\d+)?", "invalid network interface name '{}'", "iz")
ip_address = demand(lambda v: is_ipv4(v) or is_ipv6(v), "value does not look like a valid IP address")
bridge_id = matching(r"[-_.\w\d]+", "invalid bridge ID '{}'")


def address(value: str) -> None:
    """An IP address or a DNS name."""
    name = bare(value)
    if value == "0" or not (is_ipv4(name) or is_ipv6(name) or DNS_NAME.fullmatch(name)):
        raise ValueError(f"value does not look like a valid address: {value}")


def server(value: str) -> None:
    """A server of a storage: an IP address or a DNS name."""
    try:
        address(value)
    except ValueError:
        raise ValueError("value does not look like a valid server name or IP address") from None


def _is_portal(value: str) -> bool:
    """HOST, HOST:PORT, [ADDRESS]:PORT, or an IPv6 address with its port after a dot."""
    if re.fullmatch(r"[A-Za-z0-9\-.]+(?::\d+)?", value):
        return True
    found = re.fullmatch(r"\[([^\]]+)\](?::\d+)?", value)
    if found:
        return is_ipv6(found[1]) or bool(re.fullmatch(r"[A-Za-z0-9\-.]+", found[1]))
    return is_ipv6(value) or is_ipv6(re.sub(r"\.\d+$", "", value))


def cpu_set(value: str) -> None:
    """Numbers and ranges, separated by commas."""
    parts = [re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part) for part in value.rstrip(",").split(",")]
    if value.strip(",") and not all(part and int(part[2] or part[1]) >= int(part[1]) for part in parts):
        raise ValueError("unable to parse cpuset option")


def _bundled_zones() -> Traversable | None:
    """The files of Python's own time zone package, where that is installed."""
    return files("tzdata") / "zoneinfo" if find_spec("tzdata") else None


@cache
def _zones() -> set[str]:
    for folder in (*(Path(folder) for folder in zoneinfo.TZPATH), _bundled_zones()):
        try:
            lines = (folder / "zone.tab").read_text(encoding="utf-8").splitlines() if folder else []
        except OSError:
            continue
        if lines:
            return {line.split("\t")[2] for line in lines if line.count("\t") > 1 and not line.startswith("#")}
    return zoneinfo.available_timezones()  # without the list: the files there are, if any


def time_zone(value: str) -> None:
    """UTC or a place of the time zone database's list of places, which has no other names for them."""
    refuse_if(value != "UTC" and value not in _zones(), ValueError(f"invalid time zone '{value}'"))


def zfs_blocksize(value: str) -> None:
    """A power of two between 512 bytes and 16 MiB."""
    found = re.fullmatch(r"([1-9][0-9]*)([km])?", bare(value), re.I)
    if not found:
        text = f"invalid ZFS blocksize format '{value}'. Use a positive number (no leading zeros)"
        raise ValueError(f"{text} with an optional 'k' or 'm' suffix.")
    size = int(found[1]) * {"k": 1 << 10, "m": 1 << 20}.get((found[2] or "").lower(), 1)
    if not 512 <= size <= 16 << 20 or size & (size - 1):
        text = f"value '{value}' is not a valid ZFS blocksize. Must be a power of 2"
        raise ValueError(f"{text} between 512B and 16MiB (e.g., 4k, 8k, 16k, 64k, 1m).")


def replication_id(value: str) -> None:
    """GUEST-NUMBER; how long either may be is the schema's business."""
    found = existing(re.fullmatch(r"(\d+)-\d+", value), ValueError(f"invalid replication job id '{value}'"))
    if re.fullmatch(r"0*\d{1,2}", found[1]):
        raise ValueError(f"invalid replication job id '{value}' (guest IDs < 100 are reserved)")


def link_local_or_ip(value: str) -> None:
    """An address; a link-local one may name its interface."""
    ip_address(value.split("%")[0] if value.startswith("fe80:") else value)


FORMATS: dict[str, Check] = {
    **dict.fromkeys(table("unchecked formats").split(), lambda value: None),
    "pve-storage-id": storage_id,
    "pve-bridge-id": bridge_id,
    "storage-pair": storage_pair,
    "ipv4": demand(is_ipv4, "value does not look like a valid IPv4 address"),
    "ipv6": demand(is_ipv6, "value does not look like a valid IPv6 address"),
    "ip": ip_address,
    "ipv4mask": demand(
        lambda v: is_ipv4(v) and "01" not in f"{int(ipaddress.IPv4Address(v)):032b}",
        "value does not look like a valid IP netmask",
        exact=True,
    ),
    "CIDRv4": demand(lambda v: is_cidr(v, 4), "value does not look like a valid IPv4 CIDR network"),
    "CIDRv6": demand(lambda v: is_cidr(v, 6), "value does not look like a valid IPv6 CIDR network"),
    "CIDR": demand(lambda v: is_cidr(v, 4) or is_cidr(v, 6), "value does not look like a valid CIDR network"),
    "pve-ipv4-config": demand(
        lambda v: v in ("dhcp", "manual") or is_cidr(v, 4),
        "value does not look like a valid ipv4 network configuration",
    ),
    "pve-ipv6-config": demand(
        lambda v: v in ("auto", "dhcp", "manual") or is_cidr(v, 6),
        "value does not look like a valid ipv6 network configuration",
    ),
    "lxc-ip-with-ll-iface": link_local_or_ip,
    "dns-name": dns_name,
    "timezone": time_zone,
    "pve-ct-timezone": lambda value: None if value == "host" else time_zone(value),
    "pve-iface": iface,
    "pve-vlan-id-or-range": vlan,
    "address": address,
    "disk-size": demand(lambda v: parse_size(v) is not None, "value does not look like a valid disk size: {}"),
    "pve-startup-order": startup_order,
    "pve-lxc-mp-string": demand(
        lambda v: not re.search(r"/\.\.?/|/\.\.?$|^\.\./", v), "{} contains illegal character sequences", exact=True
    ),
    "pve-storage-path-in-property-string": demand(
        lambda v: bool(re.match("/[^;,=()]", v)),  # only the beginning matters to PVE
        "Value does not look like a valid absolute path. These symbols are currently not allowed in path: ;,=()",
    ),
    "pve-storage-server": server,
    "pve-storage-portal-dns": demand(_is_portal, "value does not look like a valid portal address"),
    "pve-storage-content": content_type,
    "pve-storage-zfs-blocksize": zfs_blocksize,
    "pve-volume-id": volume,
    "pve-volume-id-or-absolute-path": volume_or_path,
    "pve-volume-id-or-qm-path": volume_or_qm_path,
    "pve-dir-override": dir_override,
    "pve-cpuset": cpu_set,
    "pve-hotplug-features": hotplug,
    "pve-qm-bootdisk": demand(lambda v: bool(DRIVES.fullmatch(v)), "invalid boot disk '{}'", exact=True),
    "pve-qm-bootdev": demand(lambda v: bool(BOOTABLE.fullmatch(v)), "invalid boot device '{}'", exact=True),
    "pve-poolid": pool_id,
    "pve-priv": demand(PRIVILEGES.__contains__, "invalid privilege '{}'", exact=True),
    "pve-userid": user_id,
    "pve-tokenid": demand(
        lambda v: bool(TOKEN.fullmatch(v)), "value '{}' does not look like a valid token ID", exact=True
    ),
    "pve-calendar-event": calendarevent.check,
    "pve-replication-job-id": replication_id,
}
for _name, (_pattern, _text, *_how) in table("patterns").items():
    FORMATS[_name] = matching(_pattern, _text, *_how)
