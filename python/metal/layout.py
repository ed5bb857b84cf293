"""Where a hub's files and units lie on its node, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from .desired import Desired

TEMPLATES = Path(__file__).resolve().parents[2] / "templates" / "node"
_OURS = (".home.arpa", ".internal", ".lan", ".test")  # names that nobody else answers


@dataclass(frozen=True)
class Layout:
    """The names of one hub's files and units on the node."""

    hub: str

    @property
    def walls(self) -> str:
        return f"/etc/hub-node/{self.hub}/walls.nft"

    @property
    def walls_unit(self) -> str:
        return f"hub-walls-{self.hub}.service"

    @property
    def dns(self) -> str:
        return f"/etc/unbound/hub-{self.hub}.conf"  # Debian's AppArmor profile lets unbound read only here

    @property
    def dns_unit(self) -> str:
        return f"hub-dns-{self.hub}.service"

    @property
    def unseal(self) -> str:
        return f"/etc/hub-node/{self.hub}/unseal"

    @property
    def unseal_unit(self) -> str:
        return f"hub-unseal-{self.hub}.service"

    @property
    def authority(self) -> str:
        return f"/etc/hub-node/{self.hub}/ca.pem"

    @property
    def shares(self) -> str:
        return f"/etc/hub-node/{self.hub}/unseal.cred"  # sealed by systemd-creds; written by the controller

    @property
    def chrony(self) -> str:
        return f"/etc/chrony/conf.d/hub-{self.hub}.conf"

    @property
    def chrony_override(self) -> str:
        return f"/etc/systemd/system/chrony.service.d/hub-{self.hub}.conf"

    @property
    def sysctl(self) -> str:
        return f"/etc/sysctl.d/80-hub-{self.hub}.conf"

    def unit_file(self, unit: str) -> str:
        """Where a unit of ours lies."""
        return f"/etc/systemd/system/{unit}"

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that metal writes."""
        units = tuple(self.unit_file(unit) for unit in (self.walls_unit, self.dns_unit, self.unseal_unit))
        secrets = (self.unseal, self.authority, self.shares)
        return (self.walls, self.dns, self.chrony, self.chrony_override, self.sysctl, *secrets, *units)

    @property
    def units(self) -> tuple[str, ...]:
        """Every unit that metal starts."""
        return (self.walls_unit, self.dns_unit, self.unseal_unit, "chrony.service")


def render(name: str, desired: Desired, upstream: tuple[str, ...] = ()) -> str:
    """The text of a template for a node."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(_values(desired, upstream))


def _values(desired: Desired, upstream: tuple[str, ...]) -> dict[str, Any]:
    layout = Layout(desired.hub)
    bridges = [zone.bridge for zone in desired.zones]
    return {
        "hub": desired.hub,
        "table": desired.table,
        "zones": desired.zones,
        "bridges": bridges,
        "quoted": ", ".join(f'"{bridge}"' for bridge in bridges),
        "subnets": ", ".join(zone.subnet for zone in desired.zones),
        "flows": _flows(desired),
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


def _comment(text: str) -> str:
    # nft takes at most 128 bytes, and nothing of a text from hub.yml may end the quotes.
    return "".join(c if c.isascii() and (c.isalnum() or c in " @._-:/") else " " for c in text)[:120] or "declared"
