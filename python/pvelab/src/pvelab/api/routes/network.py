"""The node's network configuration: changes wait in a pending file until they are applied."""

from __future__ import annotations

import difflib
import ipaddress
import json
import time
from typing import Any

from .. import netfile
from ..errors import bad, bad_field, refuse_if
from ..netfile import Ifaces
from ..registry import Call, route
from ..tasks import Log
from ..words import split_list

BASE = "/nodes/{node}/network"
ONE = BASE + "/{iface}"
FILE = "/etc/network/interfaces"


def _effective(call: Call) -> Ifaces:
    """The interfaces as they will be: the pending file where there is one."""
    data = call.pve.network.data
    found: Ifaces = json.loads(json.dumps(data["pending"] if data["pending"] is not None else data["active"]))
    return found


def _shown(call: Call) -> Ifaces:
    """All interfaces as PVE reads them, with what the kernel knows of them."""
    found = netfile.settle(_effective(call))
    active = call.pve.network.data["active"]
    for name, values in found.items():
        if name == "lo" or name in active:
            values["active"] = 1
    return found


@route("GET", BASE)
def listing(call: Call) -> list[dict[str, Any]]:
    """The interfaces, and in `changes` what is not applied yet."""
    changes = _diff(call)
    if changes:
        call.attributes["changes"] = changes
    wanted = call.get("type")
    found = []
    for name, values in sorted(_shown(call).items()):
        asked = wanted in (None, "include_sdn", "bridge") or str(wanted).startswith("any_")
        if name == "lo" or not asked or not (call.is_root or _may_use(call, name)):
            continue
        found.append({**values, "iface": name})
    return found


def _may_use(call: Call, bridge: str) -> bool:
    base = f"/sdn/zones/localnetwork/{bridge}"
    below = [path for path in call.pve.users.data["acl"] if path.startswith(f"{base}/")]
    return any(call.allowed(path, "SDN.Audit", "SDN.Use", any_of=True) for path in (base, *below))


@route("GET", ONE)
def get(call: Call) -> dict[str, Any]:
    """One interface."""
    ifaces = _shown(call)
    refuse_if(call["iface"] not in ifaces, bad(iface="interface does not exist"))
    return ifaces[call["iface"]]


def _save(call: Call, ifaces: Ifaces) -> None:
    settled = netfile.settle(ifaces)
    settled.pop("lo")
    call.pve.network.data = {**call.pve.network.data, "pending": settled}
    call.pve.network.save()


def _ports(values: dict[str, Any]) -> list[str]:
    return split_list(str(values.get("bridge_ports") or ""))


def _check_between(ifaces: Ifaces, name: str, new: dict[str, Any]) -> None:
    """PVE's checks between interfaces: one default gateway, every port used once."""
    others = {n: v for n, v in ifaces.items() if n != name}
    for key, word in (("gateway", "Default gateway"), ("gateway6", "Default ipv6 gateway")):
        for other, values in others.items():
            if new.get(key) and values.get(key):
                raise bad_field(key, f"{word} already exists on interface '{other}'.")
    taken = set(_ports(new))
    for other, values in others.items():
        for port in _ports(values):
            refuse_if(port in taken, bad(bridge_ports=f"{port} is already used on interface '{other}'."))


def _split_cidr(new: dict[str, Any]) -> None:
    for end in ("", "6"):
        if not new.get(f"cidr{end}"):
            continue
        for key in (f"address{end}", f"netmask{end}"):
            refuse_if(new.get(key), bad_field(key, f"{key} conflicts with cidr{end}"))
        new[f"address{end}"], _, new[f"netmask{end}"] = str(new.pop(f"cidr{end}")).partition("/")


def _check_ipv6(new: dict[str, Any]) -> None:
    if not new.get("address6"):
        return
    text = str(new["address6"])
    address = ipaddress.IPv6Address(text)
    kinds = {"UNSPECIFIED": address.is_unspecified, "LOOPBACK": address.is_loopback, "MULTICAST": address.is_multicast}
    for kind, holds in kinds.items():
        refuse_if(holds, bad_field("address", f"{text} with type '{kind}', cannot be used as host IPv6 address."))


def _check_kind(new: dict[str, Any]) -> None:
    kind = str(new["type"])
    refuse_if(kind.startswith("OVS"), "Open VSwitch is not installed (need package 'openvswitch-switch')")
    refuse_if(kind != "bridge", f"pvelab makes bridges alone, no interface of type '{kind}'")


def _settle_methods(new: dict[str, Any]) -> None:
    new["families"] = [f for f, key in (("inet", "address"), ("inet6", "address6")) if new.get(key)] or ["inet"]
    new["method"] = "static" if new.get("address") else "manual"
    new["method6"] = "static" if new.get("address6") else "manual"


@route("POST", BASE)
def create(call: Call) -> None:
    """Adds an interface to the pending configuration."""
    new, name = call.without("node", "iface"), str(call["iface"])
    with call.pve.network.lock:
        ifaces = _effective(call)
        refuse_if(name in ifaces or name == "lo", bad(iface="interface already exists"))
        _check_kind(new)
        _check_between(ifaces, name, new)
        _split_cidr(new)
        _check_ipv6(new)
        _settle_methods(new)
        if new.get("bridge_vids"):
            vids = split_list(str(new["bridge_vids"]))
            refuse_if(not vids, bad(bridge_vids="VLAN list items are empty"))
            new["bridge_vids"] = " ".join(vids)
        ifaces[name] = new
        _save(call, ifaces)


@route("PUT", ONE)
def update(call: Call) -> None:
    """Changes an interface; without an address in the call its method becomes manual."""
    new, name = call.without("node", "iface", "delete"), str(call["iface"])
    with call.pve.network.lock:
        ifaces = _effective(call)
        refuse_if(name not in ifaces, bad(iface="interface does not exist"))
        values = ifaces[name]
        for key in call.words("delete"):
            values.pop(key, None)
            if key in ("cidr", "cidr6"):
                values.pop(key.replace("cidr", "address"), None)
                values.pop(key.replace("cidr", "netmask"), None)
        _check_kind(new)
        _split_cidr(new)
        _check_between(ifaces, name, new)
        _check_ipv6(new)
        _settle_methods(new)
        ifaces[name] = {**values, **new}
        if new.get("bridge_vids") and not split_list(str(new["bridge_vids"])):
            raise bad(bridge_vids="VLAN list items are empty")
        _save(call, ifaces)


@route("DELETE", ONE)
def delete(call: Call) -> None:
    """Takes an interface out of the pending configuration."""
    with call.pve.network.lock:
        ifaces = _effective(call)
        refuse_if(call["iface"] not in ifaces, bad(iface="interface does not exist"))
        del ifaces[call["iface"]]
        _save(call, ifaces)


@route("DELETE", BASE)
def revert(call: Call) -> None:
    """Forgets what is not applied."""
    with call.pve.network.changed():
        call.pve.network.data = {**call.pve.network.data, "pending": None}


@route("PUT", BASE)
def reload(call: Call) -> str:
    """Applies the pending configuration in a task."""

    def work(log: Log) -> None:
        with call.pve.network.changed():
            before = call.pve.network.data
            if before["pending"] is not None:
                call.pve.network.data = {"active": before["pending"], "pending": None}
            try:
                call.pve.backend.reload_network(call.pve.interfaces(), log)
            except Exception:
                call.pve.network.data = before
                raise

    return call.start("srvreload", "networking", work)


def _diff(call: Call) -> str:
    data = call.pve.network.data
    if data["pending"] is None:
        return ""
    before, after = (netfile.write(data[key]).splitlines() for key in ("active", "pending"))
    stamp = time.strftime("%Y-%m-%d %H:%M:%S.000000000 +0000", time.gmtime())
    lines = difflib.unified_diff(before, after, FILE, f"{FILE}.new", stamp, stamp, lineterm="")
    return "".join(f"{line}\n" for line in lines)
