"""What a node finds when it looks for storage: the lab has no other disks, and no storage server answers it."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from ..errors import bad, failure
from ..registry import Call, index, route

BASE = "/nodes/{node}/scan"
index(BASE, "method", "cifs", "iscsi", "lvm", "nfs", "pbs", "zfs")
LOCAL = {"localhost": "127.0.0.1"}
COLUMNS = (
    "vg_name,lv_name,lv_size,lv_attr,pool_lv,data_percent,metadata_percent,snap_percent,uuid,tags,metadata_size,time"
)


def _address(call: Call, server: str) -> str | None:
    """The address of a server; names beyond the node's own are not looked up."""
    known = {**LOCAL, call.pve.node.name: call.pve.node.address}
    try:
        return str(ipaddress.ip_address(known.get(server, server)))
    except ValueError:
        return None


def _reachable(call: Call, parameter: str) -> str:
    server = str(call[parameter])
    found = _address(call, server)
    if found is None:
        raise failure(f"unable to resolve address for server '{server}'")
    return found


def _why(address: str) -> str:
    return "Connection refused" if ipaddress.ip_address(address).is_loopback else "No route to host"


@route("GET", BASE + "/nfs")
def nfs(call: Call) -> list[Any]:
    """The exports of an NFS server."""
    address = _reachable(call, "server")
    raise failure(f"command '/sbin/showmount --no-headers --exports {address}' failed: exit code 1")


@route("GET", BASE + "/cifs")
def cifs(call: Call) -> list[Any]:
    """The shares of a CIFS server."""
    refused = ipaddress.ip_address(_reachable(call, "server")).is_loopback
    raise failure(f"unexpected status: NT_STATUS_{'CONNECTION_REFUSED' if refused else 'HOST_UNREACHABLE'})")


@route("GET", BASE + "/pbs")
def pbs(call: Call) -> list[Any]:
    """The datastores of a Proxmox Backup Server."""
    server, port = str(call["server"]), call.number("port", 8007)
    address = _address(call, server)
    why = _why(address) if address else "Name or service not known"
    raise failure(f"error fetching datastores - 500 Can't connect to {server}:{port} ({why})")


@route("GET", BASE + "/iscsi")
def iscsi(call: Call) -> list[Any]:
    """The targets of an iSCSI portal; one that doesn't answer has none."""
    portal = str(call["portal"])
    found = re.fullmatch(r"\[(.+?)\](?::\d+)?|([^:]+)(?::\d+)?|(.*)", portal)
    server = next((part for part in found.groups() if part), "") if found else ""
    if _address(call, server) is None:
        raise bad(portal=f"unable to resolve portal address '{portal}'")
    return []


@route("GET", BASE + "/lvm")
def lvm(call: Call) -> list[dict[str, Any]]:
    """The volume groups: those of the storages that the node was born with."""
    size = call.pve.node.disk
    return [{"vg": name, "size": size, "free": size // 32, "lvcount": 3} for name in sorted(_groups(call))]


def _groups(call: Call) -> set[str]:
    return {"pve" for item in call.pve.node.storages if item.type == "lvmthin"}


@route("GET", BASE + "/lvmthin")
def lvmthin(call: Call) -> list[dict[str, Any]]:
    """The thin pools of a volume group."""
    name = str(call["vg"])
    if name not in _groups(call):
        options = "--separator : --noheadings --units b --unbuffered --nosuffix --config 'report/time_format=\"%s\"'"
        raise failure(f"command '/sbin/lvs {options} --options {COLUMNS} {name}' failed: exit code 5")
    size = call.pve.node.disk
    sizes = {"lv_size": size, "used": 0, "metadata_size": size // 100, "metadata_used": 0}
    return [{"lv": "data", "vg": name, "lv_type": "t", "lv_state": "a", "ctime": str(int(call.pve.started)), **sizes}]


@route("GET", BASE + "/zfs")
def zfs(call: Call) -> list[dict[str, Any]]:
    """The file systems of the ZFS pools that the node was born with."""
    pools = [call.pve.storages.data.get(i.id, {}).get("pool") for i in call.pve.node.storages if i.type == "zfspool"]
    size = call.pve.node.disk
    return [{"pool": str(name), "size": size, "free": size} for name in sorted(filter(None, pools))]
