"""Makes the node's bridges what PVE's network settings say. Runs inside the lab's network namespace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from ..backend import Interface
from .process import run

# The lab's own; PVE's settings never name them and never remove them. The second has no address on the node.
BUILDER_BRIDGE, PUSH_BRIDGE = "labbr0", "labbr1"


def reload(interfaces: Iterable[Interface], log: Callable[[str], None]) -> None:
    """Creates, addresses and removes bridges; a bridge that is as wanted is left alone."""
    wanted = {item.name: item for item in interfaces if item.kind == "bridge"}
    for name, found in present().items():
        if name not in wanted and name not in (BUILDER_BRIDGE, PUSH_BRIDGE):
            log(f"{name}: removed")
            run(["ip", "link", "del", name])
            del found
    for name, item in wanted.items():
        _apply(item, present().get(name), log)


def present() -> dict[str, set[str]]:
    """The namespace's bridges with their IPv4 addresses."""
    links = json.loads(run(["ip", "-j", "-d", "addr", "show", "type", "bridge"]).stdout or b"[]")
    found = {}
    for link in links:
        if link:
            local = [item for item in link.get("addr_info", []) if item["family"] == "inet"]
            found[link["ifname"]] = {f"{item['local']}/{item['prefixlen']}" for item in local}
    return found


def _apply(item: Interface, held: set[str] | None, log: Callable[[str], None]) -> None:
    name = item.name
    if held is None:
        log(f"{name}: created")
        run(["ip", "link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0"])
    wanted = set(_addresses(item))
    for address in sorted((held or set()) - wanted):
        run(["ip", "addr", "del", address, "dev", name])
    for address in sorted(wanted - (held or set())):
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
