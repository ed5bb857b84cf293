"""What of the node's own world a zone would take over: networks are compared by their addresses, not by names.

Two interfaces with addresses of one network, or a route into it, and one of the two loses what is behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from typing import Any

from .actual import ActualNode
from .desired import Desired, Zone
from .refusal import RefusedByNode

_NO_WAY = frozenset({"local", "broadcast", "multicast", "anycast", "blackhole", "unreachable", "prohibit", "throw"})
_WAY_OUT = 4  # bits: a shorter route is the way to everywhere, as VPNs halve it (0.0.0.0/1 and 128.0.0.0/1)
_ROUTE = re.compile(r"\broute\s+(?:add|replace|append)\s+(?:-net\s+|to\s+|unicast\s+)?([0-9.]+(?:/[0-9.]+)?)")
_NETMASK = re.compile(r"\bnetmask\s+([0-9.]+)")
_STORAGE = ("server", "server2", "portal", "monhost")  # where a storage of Proxmox says what machine it is on


@dataclass(frozen=True)
class Use:
    """A network or an address that the node uses, and in what way."""

    network: IPv4Network
    what: str


def refuse_taken(desired: Desired, actual: ActualNode, ours: frozenset[str]) -> None:
    """Raises RefusedByNode when a zone would get a network that the node uses already; `ours` are our own bridges."""
    if desired.removed:
        return
    uses = _uses(desired, actual, ours)
    _refuse_handed_on(desired, actual, ours)
    lines = [line for zone in desired.zones if not _stands(zone, actual, ours) for line in _lines(zone, uses)]
    if lines:
        free = _free([use.network for use in uses] + [IPv4Network(zone.subnet) for zone in desired.zones])
        hint = f"give the zone another subnet in hub.yml{free}: of two with the same addresses one would be cut off"
        raise RefusedByNode("conflict", "\n".join(lines), hint)


def _refuse_handed_on(desired: Desired, actual: ActualNode, ours: frozenset[str]) -> None:
    """Two bridges would have one network while the guests of a zone that is gone are still on its bridge."""
    for name in sorted(ours - {zone.bridge for zone in desired.zones}):
        for cidr in actual.addresses.get(name, []) if actual.ports.get(name) else []:
            for zone in desired.zones:
                if IPv4Network(cidr, strict=False).overlaps(IPv4Network(zone.subnet)):
                    what = (
                        f"zone {zone.name} has the subnet {zone.subnet}, and on bridge {name} guests still have {cidr}"
                    )
                    hint = (
                        "give the new zone a subnet of its own; or take those guests away with an `aihub up` of its own"
                    )
                    raise RefusedByNode("precondition", what, hint)


def overlaps(desired: Desired, actual: ActualNode, ours: frozenset[str]) -> tuple[str, ...]:
    """A sentence for each zone that stands and whose network somebody else has taken since."""
    uses = _uses(desired, actual, ours)
    standing = [] if desired.removed else [zone for zone in desired.zones if _stands(zone, actual, ours)]
    return tuple(f"node {desired.node}: {line}" for zone in standing for line in _lines(zone, uses))


def _stands(zone: Zone, actual: ActualNode, ours: frozenset[str]) -> bool:
    return zone.bridge in ours and zone.cidr in actual.addresses.get(zone.bridge, [])


def _lines(zone: Zone, uses: list[Use]) -> Iterator[str]:
    subnet = IPv4Network(zone.subnet)
    if found := [use.what for use in uses if use.network.overlaps(subnet)]:
        yield f"zone {zone.name} has the subnet {subnet}, which the node uses already: {', '.join(found)}"


def _uses(desired: Desired, actual: ActualNode, ours: frozenset[str]) -> list[Use]:
    """Every network that the node has to do with, apart from our bridges; each once."""
    found = [*_held(actual, ours), *_configured(actual, ours), *_routes(actual, ours), *_named(desired, actual)]
    return list({use.what: use for use in found}.values())


def _held(actual: ActualNode, ours: frozenset[str]) -> Iterator[Use]:
    for name, cidrs in actual.addresses.items():
        for cidr in cidrs if name not in ours else []:
            yield from _use(cidr, f"{name} has {cidr}")


def _configured(actual: ActualNode, ours: frozenset[str]) -> Iterator[Use]:
    """What comes with the next boot or reload: interfaces that are down or pending, and routes that they bring."""
    for entry in actual.api["network"]:
        name, cidr = str(entry["iface"]), str(entry.get("cidr") or "")
        if name in ours:
            continue
        if cidr not in actual.addresses.get(name, []):
            yield from _use(cidr, f"{name} is configured with {cidr}")
        for line in entry.get("options") or []:
            if route := _ROUTE.search(str(line)):
                mask = _NETMASK.search(str(line))
                target = f"{route[1]}/{mask[1]}" if mask and "/" not in route[1] else route[1]
                yield from _use(target, f"{name} brings a route to {target}")


def _routes(actual: ActualNode, ours: frozenset[str]) -> Iterator[Use]:
    for route in actual.routes:
        target, device = str(route.get("dst", "")), str(route.get("dev") or "several interfaces")
        if route.get("type") in _NO_WAY or device in ours or _is_own(target, actual.addresses.get(device, [])):
            continue
        through = f" through {route['gateway']}" if route.get("gateway") else ""
        for use in _use(target, f"a route to {target} leads to {device}{through}"):
            if use.network.prefixlen >= _WAY_OUT:
                yield use


def _is_own(target: str, cidrs: list[str]) -> bool:
    """Whether a route follows from an address of its interface, which is told already."""
    return any(target == str(ip_network(cidr, strict=False)) for cidr in cidrs)


def _named(desired: Desired, actual: ActualNode) -> Iterator[Use]:
    """Machines that the node needs and reaches by some route: its resolvers, and those of its storages."""
    for address in set(actual.resolvers) - {zone.gateway for zone in desired.zones}:
        yield from _use(address, f"its resolver is {address}")
    for entry in actual.api.get("storage", []):
        for address in _machines(entry):
            yield from _use(address, f"storage {entry['storage']} is on {address}")


def _machines(entry: dict[str, Any]) -> Iterator[str]:
    for key in _STORAGE:
        for word in re.split(r"[\s,;]+", str(entry.get(key) or "")):
            yield word.partition(":")[0]


def _use(text: str, what: str) -> Iterator[Use]:
    with suppress(ValueError):  # an IPv6 address, a name, "default", or nothing
        network = IPv4Network(text, strict=False)
        if not network.is_loopback:
            yield Use(network, what)


def _free(taken: list[IPv4Network]) -> str:
    """A range in which nobody has anything, where there is one to name."""
    ranges = (*(f"10.{second}.0.0/16" for second in range(20, 250, 10)), "172.20.0.0/16", "172.30.0.0/16")
    free = (one for one in map(IPv4Network, ranges) if not any(one.overlaps(other) for other in taken))
    return next((f" (of {one} the node uses nothing)" for one in free), "")
