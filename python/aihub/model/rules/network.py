"""Subnets, gateways, VLANs and the hub's domain."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from ..findings import Finding
from ..hub import HubFile
from ..target import Target
from ..types import LanService

PRIVATE = tuple(IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
SMALLEST = 29


def check(file: HubFile, target: Target) -> Iterator[Finding]:
    """What is wrong with the hub's name space and its networks."""
    yield from _identity(file, target)
    for name, zone in file.zones.items():
        yield from _subnet(name, zone.subnet, target)
    for (first, one), (second, other) in combinations(file.zones.items(), 2):
        if one.subnet.overlaps(other.subnet):
            text = f"{other.subnet} overlaps the subnet of zone {first}, {one.subnet}"
            yield Finding(("zones", second, "subnet"), text)
    yield from _node_addresses(file)
    yield from _entries(file)
    yield from _lan(file)
    yield from _vlans(file)


def _identity(file: HubFile, target: Target) -> Iterator[Finding]:
    if target.has_neighbours and file.hub.id is None:
        fresh = f'id: "{secrets.token_hex(8)}"'
        text = f"a real Proxmox needs the hub's own mark: add `{fresh}` (fresh) and never change it"
        yield Finding(("hub",), text, at_key=True)
    last = file.hub.domain.rpartition(".")[2]
    if last == "local":
        text = "names below .local belong to multicast DNS: take hub.home.arpa or a domain of your own"
        yield Finding(("hub", "domain"), text)
    elif last.isdigit():
        yield Finding(("hub", "domain"), "a domain's last label is not a number: it would read as an address")


def _subnet(name: str, subnet: IPv4Network, target: Target) -> Iterator[Finding]:
    place = ("zones", name, "subnet")
    if not any(subnet.subnet_of(private) for private in PRIVATE):
        ranges = ", ".join(str(private) for private in PRIVATE)
        yield Finding(place, f"{subnet} is in no private range ({ranges}): it would hide hosts of the internet")
    elif subnet.prefixlen > SMALLEST:
        yield Finding(place, f"{subnet} is too small for a gateway and guests: take /{SMALLEST} or larger")
    elif taken := next((own for own in target.own_networks if subnet.overlaps(own)), None):
        yield Finding(place, f"{subnet} overlaps {taken}, which the {target.word} uses for itself")


def _unusable(address: IPv4Address) -> bool:
    special = address.is_loopback or address.is_multicast or address.is_unspecified
    return special or address.is_link_local or address.is_reserved


def _node_addresses(file: HubFile) -> Iterator[Finding]:
    seen: dict[IPv4Address, str] = {}
    for name, node in file.nodes.items():
        place = ("nodes", name, "address")
        if _unusable(node.address):
            yield Finding(place, f"{node.address} is no address that a host can have in a LAN")
        if node.address in seen:
            yield Finding(place, f"{node.address} is the address of node {seen[node.address]} already")
        seen.setdefault(node.address, name)
        for zone, value in file.zones.items():
            if node.address in value.subnet:
                text = f"{node.address} lies in the subnet of zone {zone}, {value.subnet}, apart from your LAN"
                yield Finding(place, text)


def _entries(file: HubFile) -> Iterator[Finding]:
    owners = {node.address: f"the address of node {name}" for name, node in file.nodes.items()}
    for name, zone in file.zones.items():
        if zone.entry is None:
            continue
        place = ("zones", name, "entry")
        if _unusable(zone.entry):
            yield Finding(place, f"{zone.entry} is no address that a host can have in a LAN")
        if zone.entry in owners:
            yield Finding(place, f"{zone.entry} is {owners[zone.entry]} already: take a free one")
        inside = next((z for z, other in file.zones.items() if zone.entry in other.subnet), None)
        if inside is not None:
            text = f"{zone.entry} lies in the subnet of zone {inside}: an entry is an address of your LAN"
            yield Finding(place, text)
        owners.setdefault(zone.entry, f"the entry of zone {name}")


def _lan(file: HubFile) -> Iterator[Finding]:
    """What guests reach in the LAN is there, and is neither the hub nor its node."""
    nodes = {node.address: f"node {name}" for name, node in file.nodes.items()}
    owners: list[tuple[str, str, Sequence[LanService]]] = [
        ("zones", name, zone.lan) for name, zone in file.zones.items()
    ]
    owners += [("guests", name, spec.lan) for name, spec in file.guests.items()]
    for kind, name, services in owners:
        wider = file.zones.get(file.guests[name].zone) if kind == "guests" else None
        for index, one in enumerate(services):
            place = (kind, name, "lan", index)
            zone = next((z for z, other in file.zones.items() if one.address in other.subnet), None)
            if _unusable(one.address):
                yield Finding(place, f"{one.address} is no address that a host can have in a LAN")
            elif one.address in nodes:
                yield Finding(place, f"{one.address} is {nodes[one.address]}, of which guests reach DNS and time alone")
            elif zone is not None:
                text = (
                    f"{one.address} lies in the subnet of zone {zone}: stacks declare what guests reach of each other"
                )
                yield Finding(place, text)
            elif one in services[:index]:
                yield Finding(place, f"{one} is in the list already")
            elif wider is not None and one in wider.lan:
                yield Finding(place, f"{one} is reached from all of its zone already")


def _vlans(file: HubFile) -> Iterator[Finding]:
    seen: dict[int, str] = {}
    for name, zone in file.zones.items():
        if file.network.gateway == "node":
            if zone.vlan is not None:
                text = "a VLAN is for `network: {gateway: external}` only: the node's own bridges need none"
                yield Finding(("zones", name, "vlan"), text)
        elif zone.vlan is None:
            yield Finding(("zones", name), "with an external gateway each zone needs its vlan", at_key=True)
        elif zone.vlan in seen:
            yield Finding(("zones", name, "vlan"), f"VLAN {zone.vlan} is the one of zone {seen[zone.vlan]} already")
        else:
            seen[zone.vlan] = name
