"""The node's network configuration: changes wait in a pending file until they are applied."""

from __future__ import annotations

import difflib
import ipaddress
import json
from typing import Any

from ..errors import bad, bad_field
from ..registry import Call, route
from ..tasks import Log
from ..words import split_list

BASE = "/nodes/{node}/network"
ONE = BASE + "/{iface}"
Ifaces = dict[str, dict[str, Any]]
PORTS = ("bridge_ports", "ovs_ports", "slaves", "ovs_bonds")
ANY_BRIDGE = ("any_bridge", "any_local_bridge")
INTEGERS = ("autostart", "priority", "vlan-id")


def _effective(call: Call) -> Ifaces:
    """The interfaces as they will be: the pending file where there is one."""
    data = call.pve.network.data
    found: Ifaces = data["pending"] if data["pending"] is not None else data["active"]
    return found


def shown(call: Call, name: str, values: dict[str, Any], number: int) -> dict[str, Any]:
    """One interface as PVE prints it."""
    found: dict[str, Any] = {"method": "manual", "method6": "manual", "families": ["inet"], "priority": number + 3}
    found |= values
    for family, cidr in (("", "cidr"), ("6", "cidr6")):
        if values.get(cidr):
            address, _, length = str(values[cidr]).partition("/")
            found |= {f"address{family}": address, f"netmask{family}": length, f"method{family}": "static"}
    found["families"] = [f for f, key in (("inet", "address"), ("inet6", "address6")) if found.get(key)] or ["inet"]
    if values["type"] == "bridge":
        found = {"bridge_fd": "0", "bridge_stp": "off", "bridge_ports": "", **found}
    for key in INTEGERS:
        if key in found:
            found[key] = int(found[key])
    if values.get("comments") and not str(values["comments"]).endswith("\n"):
        found["comments"] = f"{values['comments']}\n"
    active = call.pve.network.data["active"]
    if name in active:
        found["active"] = 1
        if values["type"] == "eth":
            found["exists"] = 1
    return found


@route("GET", BASE)
def listing(call: Call) -> list[dict[str, Any]]:
    changes = _diff(call)
    if changes:
        call.attributes["changes"] = changes
    kind = call.get("type")
    found = []
    for number, (name, values) in enumerate(sorted(_effective(call).items())):
        bridge = values["type"] in ("bridge", "OVSBridge")
        asked = kind in (None, "include_sdn", values["type"]) or (bridge and kind in ANY_BRIDGE)
        if not asked:
            continue
        if bridge and not call.is_root and not _may_use(call, name):
            continue
        found.append({**shown(call, name, values, number), "iface": name})
    return found


def _may_use(call: Call, bridge: str) -> bool:
    base = f"/sdn/zones/localnetwork/{bridge}"
    below = [path for path in call.pve.users.data["acl"] if path.startswith(f"{base}/")]
    return any(call.allowed(path, "SDN.Audit", "SDN.Use", any_of=True) for path in (base, *below))


@route("GET", ONE)
def get(call: Call) -> dict[str, Any]:
    ifaces = _effective(call)
    if call["iface"] not in ifaces:
        raise bad(iface="interface does not exist")
    return shown(call, call["iface"], ifaces[call["iface"]], sorted(ifaces).index(call["iface"]))


def _save(call: Call, ifaces: Ifaces) -> None:
    call.pve.network.data = {**call.pve.network.data, "pending": ifaces}
    call.pve.network.save()


def _copy(call: Call) -> Ifaces:
    found: Ifaces = json.loads(json.dumps(_effective(call)))
    return found


def _check(ifaces: Ifaces, name: str, new: dict[str, Any]) -> None:
    """PVE's checks between interfaces: one default gateway, every port used once."""
    others = {n: v for n, v in ifaces.items() if n != name}
    for key, word in (("gateway", "Default gateway"), ("gateway6", "Default ipv6 gateway")):
        for other, values in others.items():
            if new.get(key) and values.get(key):
                raise bad_field(key, f"{word} already exists on interface '{other}'.")
    field = next((key for key in PORTS if new.get(key)), "")
    ports = {p for key in PORTS for p in split_list(str(new.get(key, "")))}
    for other, values in others.items():
        for port in (p for key in PORTS for p in split_list(str(values.get(key, "")))):
            if port in ports:
                raise bad_field(field, f"{port} is already used on interface '{other}'.")
    for family in ("", "6"):
        for key in ("address", "netmask"):
            if new.get(f"cidr{family}") and new.get(key + family):
                raise bad_field(key + family, f"{key}{family} conflicts with cidr{family}")
    if new.get("type", "").startswith("OVS"):
        from ..errors import failure

        raise failure("Open VSwitch is not installed (need package 'openvswitch-switch')")
    if "bridge_vids" in new:
        vids = split_list(str(new["bridge_vids"]))
        if not vids:
            raise bad(bridge_vids="VLAN list items are empty")
        new["bridge_vids"] = " ".join(vids)


def _with_cidr(values: dict[str, Any]) -> dict[str, Any]:
    """Address and netmask as one cidr; without an address no gateway."""
    found = dict(values)
    for family in ("", "6"):
        address, mask = found.pop(f"address{family}", None), found.pop(f"netmask{family}", None)
        if address and mask is not None:
            length = mask if str(mask).isdigit() else ipaddress.IPv4Network(f"0.0.0.0/{mask}").prefixlen
            found[f"cidr{family}"] = f"{address}/{length}"
        if not found.get(f"cidr{family}"):
            found.pop(f"gateway{family}", None)
    return found


@route("POST", BASE)
def create(call: Call) -> None:
    new = {k: v for k, v in call.params.items() if k not in ("node", "iface")}
    name = str(call["iface"])
    with call.pve.network.lock:
        ifaces = _copy(call)
        if name in ifaces:
            raise bad(iface="interface already exists")
        _check(ifaces, name, new)
        ifaces[name] = _with_cidr(new)
        _save(call, ifaces)


@route("PUT", ONE)
def update(call: Call) -> None:
    new = {k: v for k, v in call.params.items() if k not in ("node", "iface", "delete")}
    name = str(call["iface"])
    with call.pve.network.lock:
        ifaces = _copy(call)
        if name not in ifaces:
            raise bad(iface="interface does not exist")
        values = ifaces[name]
        for key in split_list(str(call.get("delete", ""))):
            values.pop(key, None)
        _check(ifaces, name, new)
        fresh = _with_cidr(new)
        for family in ("", "6"):  # without an address in the call the interface becomes manual
            if not fresh.get(f"cidr{family}"):
                values.pop(f"cidr{family}", None)
                values.pop(f"gateway{family}", None)
        ifaces[name] = {**values, **fresh}
        _save(call, ifaces)


@route("DELETE", ONE)
def delete(call: Call) -> None:
    with call.pve.network.lock:
        ifaces = _copy(call)
        if call["iface"] not in ifaces:
            raise bad(iface="interface does not exist")
        del ifaces[call["iface"]]
        _save(call, ifaces)


@route("DELETE", BASE)
def revert(call: Call) -> None:
    with call.pve.network.lock:
        call.pve.network.data = {**call.pve.network.data, "pending": None}
        call.pve.network.save()


@route("PUT", BASE)
def reload(call: Call) -> str:
    def work(log: Log) -> None:
        with call.pve.network.lock:
            before = call.pve.network.data
            if before["pending"] is not None:
                call.pve.network.data = {"active": before["pending"], "pending": None}
            try:
                call.pve.backend.reload_network(call.pve.interfaces(), log)
            except Exception:
                call.pve.network.data = before
                raise
            call.pve.network.save()

    return call.start("srvreload", "networking", work)


def _text(ifaces: Ifaces) -> list[str]:
    """The lines of /etc/network/interfaces."""
    lines = ["auto lo", "iface lo inet loopback", ""]
    for name, values in sorted(ifaces.items()):
        if str(values.get("autostart", "")) == "1":
            lines.append(f"auto {name}")
        lines.append(f"iface {name} inet {'static' if values.get('cidr') else 'manual'}")
        if values.get("cidr"):
            lines.append(f"\taddress {values['cidr']}")
        if values.get("gateway"):
            lines.append(f"\tgateway {values['gateway']}")
        if values["type"] == "bridge":
            lines += [f"\tbridge-ports {values.get('bridge_ports') or 'none'}", "\tbridge-stp off", "\tbridge-fd 0"]
        if str(values.get("bridge_vlan_aware", "")) == "1":
            lines += ["\tbridge-vlan-aware yes", f"\tbridge-vids {values.get('bridge_vids', '2-4094')}"]
        if values.get("mtu"):
            lines.append(f"\tmtu {values['mtu']}")
        lines += [f"#{line}" for line in str(values.get("comments", "")).splitlines()]
        if values.get("cidr6"):
            lines += ["", f"iface {name} inet6 static", f"\taddress {values['cidr6']}"]
        lines.append("")
    return [*lines, "source /etc/network/interfaces.d/*"]


def _diff(call: Call) -> str:
    data = call.pve.network.data
    if data["pending"] is None:
        return ""
    before, after, file = _text(data["active"]), _text(data["pending"]), "/etc/network/interfaces"
    lines = difflib.unified_diff(before, after, file, f"{file}.new", lineterm="")
    return "".join(f"{line}\n" for line in lines)
