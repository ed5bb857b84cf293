"""A picture of a hub: zones, guests, stacks and flows, as Mermaid text."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

from aihub.model.resolved import Flow, Guest, Hub

COLOURS = {"infra": "#dbeafe", "private": "#dcfce7", "public": "#fef3c7"}


@dataclass(frozen=True)
class Link:
    """Allowed traffic between two things in the picture: a guest or a whole zone, and a guest."""

    source: str
    destination: str
    label: str


def links(hub: Hub) -> list[Link]:
    """The flows as a person thinks of them: from whom, to whom, to which service; one for each pair."""
    found: dict[tuple[str, str], list[str]] = {}
    for flow in hub.flows:
        source, destination = _source(hub, flow), _guest_at(hub, flow.destination)
        if destination and source and source != destination:
            found.setdefault((source, destination), []).append(_service(hub, destination, flow.port))
    return [Link(a, b, ", ".join(dict.fromkeys(labels))) for (a, b), labels in found.items()]


def mermaid(hub: Hub) -> str:
    """The hub as a Mermaid flowchart."""
    lines = ["flowchart LR", '  outside(("internet"))']
    for zone in hub.zones:
        wall = "no way out" if hub.zones[zone].internet == "none" else "way out"
        lines.append(f'  subgraph zone_{zone}["{zone} {hub.zones[zone].subnet} ({wall})"]')
        for guest in _guests(hub, zone):
            stacks = "".join(f"<br/>{name}" for name in guest.stacks)
            lines.append(f'    {_id(guest.name)}["<b>{guest.name}</b> {guest.address}{stacks}"]')
        lines.append("  end")
    for link in links(hub):
        lines.append(f'  {_node(hub, link.source)} -->|"{link.label}"| {_id(link.destination)}')
    lines += [f"  zone_{z} --> outside" for z, zone in hub.zones.items() if zone.internet == "outbound"]
    lines += [f"  style zone_{z} fill:{COLOURS.get(z, '#eeeeee')}" for z in hub.zones]
    return "\n".join(lines) + "\n"


def _guests(hub: Hub, zone: str) -> list[Guest]:
    return [guest for guest in hub.guests.values() if guest.zone == zone]


def _guest_at(hub: Hub, address: str) -> str:
    return next((g.name for g in hub.guests.values() if str(g.address) == address), "")


def _source(hub: Hub, flow: Flow) -> str:
    network = IPv4Network(flow.source)
    if network.prefixlen == 32:
        return _guest_at(hub, str(network.network_address))
    return next((name for name, zone in hub.zones.items() if zone.subnet == network), "")


def _service(hub: Hub, guest: str, port: int) -> str:
    for instance in hub.on(guest):
        if port in {given.port for given in instance.stack.gives.values()}:
            return instance.stack.name
    return str(port)


def _id(name: str) -> str:
    return f"guest_{name.replace('-', '_')}"


def _node(hub: Hub, name: str) -> str:
    return _id(name) if name in hub.guests else f"zone_{name}"
