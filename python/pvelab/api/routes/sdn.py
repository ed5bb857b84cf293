"""Software-defined networks: zones and VNets are kept as pending, nothing is applied."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..errors import ApiError, bad, failure
from ..registry import Call, index, route
from ..sections import Section, section, typed
from ..words import split_list

BASE = "/cluster/sdn"
index(BASE, "id", "vnets", "zones", "controllers", "ipams", "dns", "fabrics")
index(BASE + "/fabrics", "subdir", "fabric", "node", "all")
COMMON = "dns dnszone ipam nodes reversedns"
ZONES = {
    "simple": section("", f"{COMMON} dhcp mtu"),
    "vlan": section("bridge", f"{COMMON} bridge-disable-mac-learning mtu"),
    "qinq": section("bridge tag", f"{COMMON} bridge-disable-mac-learning mtu vlan-protocol"),
    "vxlan": section("", f"{COMMON} fabric mtu peers vxlan-port"),
    "evpn": section(
        "controller vrf-vxlan",
        f"{COMMON} advertise-subnets bridge-disable-mac-learning disable-arp-nd-suppression exitnodes"
        " exitnodes-local-routing exitnodes-primary mac mtu rt-import vxlan-port",
    ),
    "faucet": section("controller dp-id", COMMON),
}
VNET = section("zone", "alias isolate-ports tag vlanaware")
TAGGED = ("vlan", "qinq", "vxlan", "evpn")
Item = dict[str, Any]


def _table(call: Call, kind: str) -> dict[str, Item]:
    return call.pve.table(f"sdn_{kind}s")


def _shown(call: Call, kind: str) -> list[Item]:
    table = _table(call, kind)
    digest = hashlib.sha1(json.dumps(table, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    right, found = ("SDN.Audit", "SDN.Allocate"), []
    for name, entry in sorted(table.items()):
        zone = name if kind == "zone" else entry["zone"]
        path = f"/sdn/zones/{zone}" if kind == "zone" else f"/sdn/zones/{zone}/{name}"
        if call.allowed(path, *right, any_of=True):
            found.append({**entry, kind: name, "digest": digest})
    if not call.flag("pending"):
        return found
    return [_pending(item, kind) for item in found]


def _pending(item: Item, kind: str) -> Item:
    fixed = ("type", kind)
    waiting = {k: v for k, v in item.items() if k not in (*fixed, "digest")}
    return {**{k: item[k] for k in fixed}, "digest": None, "state": "new", "pending": waiting}


def _one(call: Call, kind: str) -> Item:
    found = next((item for item in _shown(call, kind) if item[kind] == call[kind]), None)
    if found is None:
        raise failure(f"sdn {'vnet ' if kind == 'vnet' else ''}'{call[kind]}' does not exist")
    return found


def _new(call: Call, kind: str) -> Item:
    skipped = (kind, "type", "delete", "digest", "lock-token", "pending", "running")
    return {k: v for k, v in call.params.items() if k not in skipped}


def _section(entry: Item) -> Section:
    return VNET if entry["type"] == "vnet" else ZONES[entry["type"]]


def _create(call: Call, kind: str) -> None:
    """Makes an object, which waits to be applied."""
    entry = {"type": str(call.get("type", "vnet")), **typed(f"POST {BASE}/{kind}s", _new(call, kind))}
    _section(entry).check(_new(call, kind), True)
    failed = f"create sdn {kind} object failed: "
    with call.pve.cluster.lock:
        table = _table(call, kind)
        if call[kind] in table:
            raise failure(f"{failed}sdn {kind} object ID '{call[kind]}' already defined")
        try:
            _check_vnet(call, entry)
        except ApiError as error:
            raise failure(f"{failed}{error.text}") from None
        table[call[kind]] = entry
        call.pve.cluster.save()


def _check_vnet(call: Call, entry: Item) -> None:
    if entry["type"] != "vnet":
        return
    zone = _table(call, "zone").get(entry["zone"])
    if zone is None:
        raise failure("cannot lookup undefined type! at /usr/share/perl5/PVE/API2/Network/SDN/Vnets.pm line 326.")
    if zone["type"] in TAGGED and not entry.get("tag"):
        raise bad(tag="missing vlan tag")


def _update(call: Call, kind: str) -> None:
    """Changes an object, which waits to be applied."""
    failed, new = f"update sdn {kind} object failed: ", _new(call, kind)
    delete = split_list(str(call.get("delete", "")))
    with call.pve.cluster.lock:
        entry = _table(call, kind).get(call[kind])
        if entry is None:
            raise failure(f"{failed}sdn {'vnet ' if kind == 'vnet' else ''}'{call[kind]}' does not exist")
        try:
            _section(entry).check(new, False)
            _section(entry).remove(delete, new)
        except ApiError as error:
            raise failure(f"{failed}{error.text}") from None
        for key in delete:
            entry.pop(key, None)
        entry |= typed(f"POST {BASE}/{kind}s", new)
        call.pve.cluster.save()


def _delete(call: Call, kind: str) -> None:
    """Removes an object that nothing uses."""
    failed = f"delete sdn {kind} object failed: "
    with call.pve.cluster.lock:
        if call[kind] not in _table(call, kind):
            text = f"sdn vnet '{call[kind]}' does not exist" if kind == "vnet" else f"sdn '{call[kind]}' does not exist"
            raise failure(text if kind == "vnet" else f"{failed}{text}")
        user = next((n for n, v in _table(call, "vnet").items() if kind == "zone" and v["zone"] == call[kind]), None)
        if user is not None:
            where = "/usr/share/perl5/PVE/Network/SDN/Zones/Plugin.pm line 149."
            raise failure(f"{failed}zone {call[kind]} is used by vnet {user} at {where}")
        del _table(call, kind)[call[kind]]
        call.pve.cluster.save()


def _register(kind: str) -> None:
    many = f"{BASE}/{kind}s"
    one = f"{many}/{{{kind}}}"
    route("GET", many)(lambda call: _shown(call, kind))
    route("POST", many)(lambda call: _create(call, kind))
    route("GET", one)(lambda call: _one(call, kind))
    route("PUT", one)(lambda call: _update(call, kind))
    route("DELETE", one)(lambda call: _delete(call, kind))


for _kind in ("zone", "vnet"):
    _register(_kind)


def _nothing(call: Call) -> list[Any]:
    """Nothing of this kind was made."""
    return []


for _path in ("controllers", "dns", "ipams/{ipam}/status"):
    route("GET", f"{BASE}/{_path}")(_nothing)


@route("GET", BASE + "/vnets/{vnet}/subnets")
def subnets(call: Call) -> list[Item]:
    """The subnets of a VNet: none can be made here."""
    _one(call, "vnet")
    return []


def _missing(call: Call) -> None:
    """An object of a kind that is never made here."""
    raise failure(f"sdn '{call.params.get('controller') or call.params.get('dns')}' does not exist")


route("GET", BASE + "/controllers/{controller}")(_missing)
route("GET", BASE + "/dns/{dns}")(_missing)


@route("GET", BASE + "/ipams")
def ipams(call: Call) -> list[Item]:
    """Address managers: PVE's own is always there."""
    return [{"ipam": "pve", "type": "pve", "digest": hashlib.sha1(b"", usedforsecurity=False).hexdigest()}]


@route("GET", BASE + "/ipams/{ipam}")
def ipam(call: Call) -> Item:
    """One address manager."""
    found: Item | None = next((item for item in ipams(call) if item["ipam"] == call["ipam"]), None)
    if found is None:
        raise failure(f"sdn '{call['ipam']}' does not exist")
    return found
