"""Formats of firewall rules: ports, protocols, addresses."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable

from .errors import refuse_if
from .tables import words

ALIAS = r"(dc/|guest/)?[A-Za-z][A-Za-z0-9\-_]+"
ICMP, ICMPV6 = words("icmp types"), words("icmpv6 types")
WITH_PORTS, PROTOCOLS = words("protocols with ports"), words("protocols")


def _parts(text: str) -> list[str]:
    found = text.split(",")
    while found and not found[-1]:
        found.pop()
    refuse_if(",".join(found) != text, ValueError("extraneous commas in list"))
    return found


def ports(text: str, icmp: bool = False) -> None:
    """A list of ports, ranges and service names."""
    count, icmp_seen = 0, False
    for item in _parts(text):
        span = re.fullmatch(r"(\d+):(\d+)", item)
        if span:
            count += 2
            first, last = int(span[1]), int(span[2])
            for port in (first, last):
                refuse_if(port > 65535, ValueError(f"invalid port '{port}'"))
            if first > last:
                raise ValueError(f"backwards range '{first}:{last}' not allowed, did you mean '{last}:{first}'?")
        elif item.isdigit():
            count += 1
            refuse_if(int(item) > 65535, ValueError(f"invalid port '{item}'"))
        elif icmp and item in ICMP | ICMPV6:
            icmp_seen = True
        elif not _service(item):
            raise ValueError(f"invalid port '{item}'")
    refuse_if(icmp_seen and count, ValueError("ICMP ports not allowed in port range"))
    refuse_if(count > 15, ValueError("too many entries in port list (> 15 numbers)"))


def _service(name: str) -> bool:
    try:
        socket.getservbyname(name)
    except OSError:
        return False
    return True


def addresses(text: str) -> int | None:
    """A list of addresses, networks or one range; the IP version, None for a set or alias."""
    if text.startswith("+"):
        refuse_if(len(text) > 65, ValueError("ipset name too long"))
        return None
    if re.fullmatch(ALIAS, text):
        refuse_if(len(text) > 64, ValueError("alias name too long"))
        return None
    version: int | None = None
    parts = _parts(text)
    for item in parts:
        found = _version(item)
        if version and found != version:
            raise ValueError(f"detected mixed ipv4/ipv6 addresses in address list '{text}'")
        version = found
    refuse_if(len(parts) > 1 and "-" in text, ValueError("you can't use a range in a list"))
    return version


def _version(item: str) -> int:
    if "/" in item[1:]:
        address, _, length = item[1:].partition("/")
        address = item[0] + address
        _check_address(address)
        return _network(address, length)
    parts = re.split(r"\s*-\s*", item, maxsplit=1) if "-" in item[1:] else [item]
    versions = [_check_address(part) for part in parts]
    if len(set(versions)) > 1:
        raise ValueError(f"invalid IP address: Invalid IP address {parts[-1]}")
    return versions[0]


def _network(address: str, length: str) -> int:
    padded = address if ":" in address else ".".join([*address.split("."), "0", "0", "0"][:4])
    try:
        found = ipaddress.ip_interface(f"{padded}/{length}")
    except ValueError:
        raise ValueError(f"invalid IP address: Invalid prefix length /{length}") from None
    if found.network.network_address != found.ip:
        bits = f"{int(found.ip):0{found.max_prefixlen}b}"
        raise ValueError(f"invalid IP address: Invalid prefix {bits}/{found.network.prefixlen}")
    return found.version


def _check_address(text: str) -> int:
    """The version of an address, which may lack its last octets; raises what is wrong with it."""
    if ":" in text:
        try:
            return ipaddress.IPv6Address(text).version
        except ValueError:
            octets = re.fullmatch(r"[0-9a-fA-F:.]+", text) and ("::" in text or text.count(":") < 7)
            what = "Invalid number of octets" if octets and not re.search(r":{3}|\d{5}", text) else "Invalid IP address"
            raise ValueError(f"invalid IP address: {what} {text}") from None
    problem = _wrong_address(text)
    refuse_if(problem, ValueError(f"invalid IP address: {problem}"))
    return 4


def _wrong_address(text: str) -> str | None:
    if not re.fullmatch(r"[0-9.]+", text):
        return f"Invalid chars in IP {text}"
    if text.startswith("."):
        return f"Invalid IP {text} - starts with a dot"
    if text.endswith("."):
        return f"Invalid IP {text} - ends with a dot"
    if text.count(".") > 3:
        return f"Invalid IP address {text}"
    if ".." in text:
        return f"Empty quad in IP address {text}"
    wrong = next((quad for quad in text.split(".") if int(quad) > 255), None)
    return f"Invalid quad in IP address {text} - {wrong}" if wrong else None


def protocol(text: str) -> None:
    """A protocol by name or number."""
    refuse_if(text and text not in PROTOCOLS, ValueError(f"unknown protocol '{text}'"))


def icmp_type(text: str) -> None:
    """The name of an ICMP type."""
    refuse_if(text and text not in ICMP | ICMPV6, ValueError(f"invalid icmp-type value '{text}'"))


def helpers(text: str) -> None:
    """Names of connection tracking helpers."""
    for item in _parts(text):
        if item not in ("amanda", "ftp", "irc", "netbios-ns", "pptp", "sane", "sip", "snmp", "tftp"):
            raise ValueError(f"unknown helper {item}")


FIREWALL_FORMATS: dict[str, Callable[[str], object]] = {
    "pve-fw-dport-spec": lambda text: ports(text, icmp=True), "pve-fw-sport-spec": ports,
    "pve-fw-addr-spec": addresses, "pve-fw-protocol-spec": protocol, "pve-fw-icmp-type-spec": icmp_type,
    "pve-fw-conntrack-helper": helpers,
}  # fmt: skip
