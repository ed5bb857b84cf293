"""What a hub's files on its node hold."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aihub.names import NOT_PUBLIC, Layout

from .actual import ALWAYS, LEAST, OVERCOMMIT
from .desired import GROUPS, Desired

TEMPLATES = Path(__file__).resolve().parents[2] / "templates" / "node"
_OURS = (".home.arpa", ".internal", ".lan", ".test")  # names that nobody else answers


def render(
    name: str,
    desired: Desired,
    upstream: tuple[str, ...] = (),
    near: tuple[str, ...] = (),
    closed: tuple[str, ...] = (),
    **more: object,
) -> str:
    """The text of a template for a node, with what `more` this one needs.

    `near` are the networks that it stands in itself; on the bridges in `closed` are guests of zones that are gone.
    """
    return str(_templates().get_template(name).render({**_values(desired, upstream, near, closed), **more}))


@cache
def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _values(
    desired: Desired, upstream: tuple[str, ...], near: tuple[str, ...], closed: tuple[str, ...]
) -> dict[str, Any]:
    layout = Layout(desired.hub)
    bridges = [*(zone.bridge for zone in desired.zones), *closed]
    return {
        "hub": desired.hub,
        "table": desired.table,
        "zones": desired.zones,
        "bridges": bridges,
        "closed": closed,
        "quoted": ", ".join(f'"{bridge}"' for bridge in bridges),
        "subnets": ", ".join(zone.subnet for zone in desired.zones),
        "flows": _flows(desired),
        "lan": _into_lan(desired),
        "outside": desired.outside,
        "groups": GROUPS,
        "inland": [*NOT_PUBLIC, *near],
        "ports": desired.ports,
        "least": {name.replace("/", "."): value for name, value in LEAST.items()},
        "overcommit": f"{OVERCOMMIT.replace('/', '.')} = {ALWAYS}",
        "firewalls": ", ".join(f'"{port.firewall}"' for port in desired.ports),
        "zone_ports": {
            zone.name: ", ".join(f"{port.mac} . {port.address}" for port in desired.ports if port.zone == zone.name)
            for zone in desired.zones
        },
        "domain": desired.domain,
        "domain_is_ours": f".{desired.domain}".endswith(_OURS),
        "records": desired.records,
        "names": desired.names,
        "upstream": upstream,
        "upstream6": any(ip_address(address).version == 6 for address in upstream),
        "walls": layout.walls,
        "walls_unit": layout.walls_unit,
        "dns": layout.dns,
        "vault": desired.vault,
        "unseal": layout.unseal,
        "authority": layout.authority,
        "shares": layout.shares,
    }


def _flows(desired: Desired) -> list[dict[str, object]]:
    found = []
    for flow in desired.flows:
        source, destination = desired.zone_of(flow.source), desired.zone_of(flow.destination)
        # Inside a zone guests reach each other without the node.
        if source and destination and source != destination:
            bridges = {"source_bridge": source.bridge, "destination_bridge": destination.bridge}
            found.append({**vars(flow), **bridges, "why": _comment(flow.why)})
    return found


def _into_lan(desired: Desired) -> list[dict[str, object]]:
    sources = ((flow, desired.zone_of(flow.source)) for flow in desired.lan)
    return [{**vars(flow), "source_bridge": zone.bridge, "why": _comment(flow.why)} for flow, zone in sources if zone]


def _comment(text: str) -> str:
    # nft takes at most 128 bytes, and nothing of a text from hub.yml may end the quotes.
    return "".join(c if c.isascii() and (c.isalnum() or c in " @._-:/") else " " for c in text)[:120] or "declared"
