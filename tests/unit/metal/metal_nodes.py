"""Nodes for tests: what a hub wants, and a node that is exactly so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aihub.names import Layout, unit_file
from metal import rights, texts
from metal.actual import LEAST, OVERCOMMIT, PACKAGES, ActualNode, File, Unit
from metal.desired import Desired, Flow, Port, Record, VaultServer, Zone
from metal.services import UNSEAL

WANTED = Desired(
    hub="my-hub",
    hub_id="0123456789abcdef",
    node="pve",
    domain="hub.home.arpa",
    zones=(
        Zone("infra", "hubinfra", "10.10.10.0/24", "10.10.10.1", True),
        Zone("private", "hubprivate", "10.10.20.0/24", "10.10.20.1", False),
    ),
    flows=(
        Flow("10.10.20.11/32", "10.10.10.11", 5432, "tcp", 'postgres for "chroma"; drop'),
        Flow("10.10.10.0/24", "10.10.10.11", 5432, "tcp", "inside one zone"),
    ),
    ports=(
        Port("db", "infra", 110, "lxc", "BC:24:11:00:00:6E", "10.10.10.11"),
        Port("private-ai", "private", 201, "vm", "BC:24:11:00:00:C9", "10.10.20.11"),
    ),
    records=(Record("db", "10.10.10.11"), Record("private-ai", "10.10.20.11")),
    names=(("ghcr.io", "10.255.255.2"),),
    storages=("local-zfs", "tank"),
    images="local",
    kept="abcdef012345",
    vault=VaultServer("10.10.10.13", 8200, "security.hub.home.arpa", "root certificate\n"),
)
UPSTREAM = ("192.0.2.53",)
INTERFACES = [{"iface": "vmbr0", "type": "bridge", "cidr": "192.168.1.10/24", "bridge_ports": "eno1", "autostart": 1}]


def fresh() -> ActualNode:
    """A node where nothing of ours is."""
    names = Layout(WANTED.hub)
    return ActualNode(
        units={u: Unit("", "inactive", 0) for u in names.units},
        api={
            "network": [dict(entry) for entry in INTERFACES],
            "pools": [],
            "roles": [{"roleid": "PVEVMUser", "privs": "VM.Audit"}],
            "users": [{"userid": "root@pam", "enable": 1}],
            "acl": [],
            "storage": [{"storage": "local", "content": "iso,snippets"}, {"storage": "local-zfs"}, {"storage": "tank"}],
        },
        addresses={"vmbr0": ["192.168.1.10/24"]},
        limits={**dict.fromkeys(LEAST, 128), OVERCOMMIT: 0},
        values={"ip_forward": "0", "clock": "1", "loaded": "empty"},
        packages=set(PACKAGES),
        resolvers=list(UPSTREAM),
    )


def printed(node: ActualNode) -> str:
    """What the reading script prints on a node where nothing of ours is."""
    lines = [f"unit\t{name}\t{u.enabled}\t{u.active}\t{u.since}" for name, u in node.units.items()]
    lines += [f"api\t{name}\t{json.dumps(rows)}" for name, rows in node.api.items()]
    links = [
        {
            "ifname": name,
            "addr_info": [dict(zip(("local", "prefixlen"), cidr.split("/"), strict=True)) for cidr in cidrs],
        }
        for name, cidrs in node.addresses.items()
    ]
    lines += [f"links\t{json.dumps(links)}", f"routes\t{json.dumps(node.routes)}"]
    lines += [f"value\t{name}\t{value}" for name, value in node.values.items()]
    lines += [f"limit\t{name}\t{value}" for name, value in node.limits.items()]
    lines += [f"package\t{name}\tinstalled" for name in node.packages]
    lines += [f"resolver\t{address}" for address in node.resolvers]
    return "\n".join(lines) + "\n"


def _file(text: str, mode: str) -> File:
    return File(f"{mode} root root", hashlib.sha256(text.encode()).hexdigest(), 100)


def converged(wanted: Desired = WANTED) -> ActualNode:
    """A node that is as wanted."""
    names, node = Layout(wanted.hub), fresh()
    for path, template, mode in (
        (names.walls, "walls.nft.j2", "600"),
        (unit_file(names.walls_unit), "walls.service.j2", "644"),
        (names.bridge_rules, "bridges.rules.j2", "644"),
        (names.dns, "unbound.conf.j2", "644"),
        (unit_file(names.dns_unit), "dns.service.j2", "644"),
        (names.chrony, "chrony.conf.j2", "644"),
        (names.sysctl, "sysctl.conf.j2", "644"),
        (names.limits, "limits.conf.j2", "644"),
        (unit_file(names.unseal_unit), "unseal.service.j2", "644"),
    ):
        node.files[path] = _file(texts.render(template, wanted, UPSTREAM), mode)
    if wanted.vault:
        node.files[names.unseal] = _file(UNSEAL.read_text(), "755")
        node.files[names.authority] = _file(wanted.vault.authority, "644")
        node.files[names.shares] = _file("sealed", "600")
    node.units = {u: Unit("enabled", "active", 100) for u in names.units}
    node.limits = {**LEAST, OVERCOMMIT: 1}
    node.values |= {"ip_forward": "1", "loaded": "same", "expected": "same"}
    for zone in wanted.zones:
        entry = {
            "iface": zone.bridge,
            "type": "bridge",
            "cidr": zone.cidr,
            "autostart": 1,
            "bridge_ports": "",
        }
        node.api["network"].append({**entry, "comments": wanted.marker + "\n"})
        node.addresses[zone.bridge] = [zone.cidr]
        node.ports[zone.bridge] = []
        node.groups[zone.bridge] = "0x4000"
    node.api["pools"] = [{"poolid": wanted.pool, "comment": wanted.marker}]
    node.api["roles"] += [{"roleid": r, "privs": ",".join(p)} for r, p in rights.ROLES.items()]
    token = {"tokenid": "hub", "privsep": 1, "comment": wanted.token_comment}
    node.api["users"].append({"userid": wanted.user, "comment": wanted.marker, "enable": 1, "tokens": [token]})
    node.api["acl"] = [
        {"path": g.path, "roleid": g.role, "ugid": who, "propagate": int(g.propagate), "type": "user"}
        for g in rights.grants(wanted)
        for who in (wanted.user, wanted.token)
    ]
    return node


def changed(change: Callable[[ActualNode], Any]) -> ActualNode:
    """A converged node after one change by hand."""
    node = converged()
    change(node)
    return node


REMOVED = replace(WANTED, removed=True)
