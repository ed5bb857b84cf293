"""Pictures of a hub: zones, guests, stacks and flows, as Mermaid text and as SVG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from ipaddress import IPv4Network

from aihub.model.resolved import Flow, Guest, Hub

COLOURS = {"infra": "#dbeafe", "private": "#dcfce7", "public": "#fef3c7"}
STYLE = (
    "text{font-family:system-ui,sans-serif;font-size:13px;fill:#1f2937}"
    ".n{font-weight:600}.s{font-size:11px}.f{fill:none;stroke:#475569}"
)
ARROW = (
    '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 8 4 0 8z" fill="#475569"/></marker></defs>'
)
EDGES = {"infra": "#1d4ed8", "private": "#15803d", "public": "#b45309"}


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


def svg(hub: Hub) -> str:
    """The hub as an SVG drawing: a column for each zone, a box for each guest, a curve for each flow."""
    drawing = _Drawing(hub)
    size = f'viewBox="0 0 {drawing.width} {drawing.height}"'
    label = f'role="img" aria-label="{escape(hub.name)}: zones, guests, stacks and flows"'
    parts = [f"<style>{STYLE}</style>", ARROW, '<rect width="100%" height="100%" fill="#ffffff"/>']
    parts += [*drawing.zones(), *drawing.curves(), *drawing.guests()]
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label}>\n' + "\n".join(parts) + "\n</svg>\n"


class _Drawing:
    """Where everything stands, in pixels."""

    COLUMN, GAP, BOX, TOP, LINE = 250, 110, 210, 90, 17

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._at: dict[str, tuple[int, int, int]] = {}  # name -> x, y, height
        self._columns: dict[str, int] = {}
        depth = 0
        for index, zone in enumerate(_order(hub)):
            self._columns[zone] = 20 + index * (self.COLUMN + self.GAP)
            y = self.TOP
            for guest in _guests(hub, zone):
                height = 40 + self.LINE * max(1, len(guest.stacks))
                self._at[guest.name] = (self._columns[zone] + 20, y, height)
                y += height + 18
            depth = max(depth, y)
        self.width = 40 + len(self._columns) * (self.COLUMN + self.GAP) - self.GAP
        self.height = depth + 30

    def zones(self) -> Iterator[str]:
        """The columns."""
        for zone, x in self._columns.items():
            found = self._hub.zones[zone]
            wall = "no way out but the egress proxy" if found.internet == "none" else "has a way out"
            fill, stroke = COLOURS.get(zone, "#eeeeee"), EDGES.get(zone, "#888888")
            yield _rect(x, 20, self.COLUMN, self.height - 40, fill, stroke)
            yield _text("n", x + 20, 46, f"{zone} {found.subnet}")
            yield _text("s", x + 20, 66, wall)

    def guests(self) -> Iterator[str]:
        """The boxes, with the stacks in them."""
        for guest in self._hub.guests.values():
            x, y, height = self._at[guest.name]
            kind = f"{guest.kind} {guest.vmid}" + (f", {guest.gpu}" if guest.gpu else "")
            yield _rect(x, y, self.BOX, height, "#ffffff", "#94a3b8")
            yield _text("n", x + 10, y + 20, guest.name)
            yield _text("s", x + self.BOX - 10, y + 20, kind, "end")
            for row, stack in enumerate(guest.stacks):
                yield _text("s", x + 22, y + 40 + row * self.LINE, stack)

    def curves(self) -> Iterator[str]:
        """The flows; one from a whole zone starts at its column's edge."""
        for link in links(self._hub):
            x1, y1, x2, y2, leave, arrive = self._ends(link)
            path = f"M{x1} {y1}C{x1 + leave} {y1} {x2 + arrive} {y2} {x2} {y2}"
            title = escape(f"{link.source} -> {link.destination}: {link.label}")
            yield f'<path class="f" d="{path}" marker-end="url(#end)"><title>{title}</title></path>'

    def _ends(self, link: Link) -> tuple[int, int, int, int, int, int]:
        """Where a curve starts and ends, and how far it leans out at both ends."""
        x2, y2, height = self._at[link.destination]
        y2 += height // 2
        target = self._columns[self._hub.guests[link.destination].zone]
        if link.source in self._at:
            x1, y1, tall = self._at[link.source]
            y1, width, origin = y1 + tall // 2, self.BOX, self._columns[self._hub.guests[link.source].zone]
        else:
            x1, y1, width = self._columns[link.source], 56, self.COLUMN
            origin = x1
        if origin == target:  # a loop on the right-hand side
            return x1 + width, y1, x2 + self.BOX, y2, 50, 50
        if origin < target:
            return x1 + width, y1, x2, y2, 60, -60
        return x1, y1, x2 + self.BOX, y2, -60, 60


def _rect(x: int, y: int, width: int, height: int, fill: str, stroke: str) -> str:
    place = f'x="{x}" y="{y}" width="{width}" height="{height}" rx="8"'
    return f'<rect {place} fill="{fill}" stroke="{stroke}"/>'


def _text(style: str, x: int, y: int, words: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def _order(hub: Hub) -> list[str]:
    """Private, infra, public: the zones that may not talk stand apart."""
    wanted = [zone for zone in ("private", "infra", "public") if zone in hub.zones]
    return [*wanted, *(zone for zone in hub.zones if zone not in wanted)]


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
