"""The node's /etc/network/interfaces in ifupdown's form, as Proxmox VE writes it."""

from __future__ import annotations

from collections.abc import Iterable

from ..backend import Interface

_HEAD = "# network interface settings; made by the lab from the API's network configuration\n"
_OPTIONS = {"bridge_ports": "bridge-ports", "bridge_stp": "bridge-stp", "bridge_fd": "bridge-fd", "mtu": "mtu"}


def render(interfaces: Iterable[Interface]) -> str:
    """The file's text."""
    parts = [_HEAD, "auto lo\niface lo inet loopback\n"]
    parts += [_stanza(item) for item in sorted(interfaces, key=lambda item: item.name)]
    return "\n".join([*parts, "source /etc/network/interfaces.d/*\n"])


def _stanza(item: Interface) -> str:
    options = item.options
    address = options.get("cidr") or options.get("address", "")
    lines = [f"auto {item.name}"] if options.get("autostart") == "1" else []
    lines.append(f"iface {item.name} inet {'static' if address else 'manual'}")
    if address:
        lines.append(f"\taddress {address}")
    if options.get("gateway"):
        lines.append(f"\tgateway {options['gateway']}")
    if item.kind == "bridge":
        values = {"bridge_ports": "none", "bridge_stp": "off", "bridge_fd": "0"}
        values |= {key: value for key, value in options.items() if key in _OPTIONS and value}
        lines += [f"\t{name} {values[key]}" for key, name in _OPTIONS.items() if key in values]
        if options.get("bridge_vlan_aware") == "1":
            lines += ["\tbridge-vlan-aware yes", "\tbridge-vids 2-4094"]
    lines += [f"#{line}" for line in options.get("comments", "").splitlines()]
    return "\n".join(lines) + "\n"
