"""Makes the node's bridges what PVE's network settings say. Runs inside the lab's network namespace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..backend import Interface
from .process import run

# The lab's own; PVE's settings never name them and never remove them. The second has no address on the node.
BUILDER_BRIDGE, PUSH_BRIDGE = "labbr0", "labbr1"


MARK = "pvelab"
"""What a bridge that the lab made has as its alias. One without is somebody else's, and stays."""


@dataclass(frozen=True)
class Bridge:
    """A bridge that is there, with its IPv4 addresses."""

    addresses: frozenset[str]
    ours: bool


def reload(interfaces: Iterable[Interface], log: Callable[[str], None]) -> None:
    """Creates, addresses and removes bridges; a bridge that is as wanted or that somebody else made is left alone."""
    wanted = {item.name: item for item in interfaces if item.kind == "bridge"}
    for name, found in present().items():
        if name not in wanted and name not in (BUILDER_BRIDGE, PUSH_BRIDGE):
            if not found.ours:
                log(f"{name}: not made by the lab, left alone")
                continue
            log(f"{name}: removed")
            run(["ip", "link", "del", name])
    for name, item in wanted.items():
        _apply(item, present().get(name), log)


def present() -> dict[str, Bridge]:
    """The namespace's bridges."""
    links = json.loads(run(["ip", "-j", "-d", "addr", "show", "type", "bridge"]).stdout or b"[]")
    found = {}
    for link in links:
        if link:
            local = [item for item in link.get("addr_info", []) if item["family"] == "inet"]
            addresses = frozenset(f"{item['local']}/{item['prefixlen']}" for item in local)
            found[link["ifname"]] = Bridge(addresses, link.get("ifalias") == MARK)
    return found


def _apply(item: Interface, found: Bridge | None, log: Callable[[str], None]) -> None:
    name, held = item.name, found.addresses if found else frozenset[str]()
    if found is None:
        log(f"{name}: created")
        run(["ip", "link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0"])
        run(["ip", "link", "set", name, "alias", MARK])
    wanted = set(_addresses(item))
    for address in sorted(held - wanted):
        run(["ip", "addr", "del", address, "dev", name])
    for address in sorted(wanted - held):
        run(["ip", "addr", "add", address, "dev", name])
    if mtu := item.options.get("mtu"):
        run(["ip", "link", "set", name, "mtu", mtu])
    run(["ip", "link", "set", name, "up"])
    if ports := item.options.get("bridge_ports", "").replace("none", "").strip():
        log(f"{name}: ports {ports} are simulated, the lab has no physical network card")
    if item.options.get("gateway"):
        log(f"{name}: the default route stays at the lab's uplink, not {item.options['gateway']}")


def _addresses(item: Interface) -> list[str]:
    if cidr := item.options.get("cidr"):
        return [cidr]
    address, mask = item.options.get("address", ""), item.options.get("netmask", "")
    if not address:
        return []
    return [address if "/" in address else f"{address}/{mask or '24'}"]
