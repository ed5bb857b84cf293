"""The node: status, hardware, packages, time, DNS, and what else a client asks of it."""

from __future__ import annotations

import time
from typing import Any

from ..errors import ApiError, failure
from ..registry import Call, index, route
from .cluster import node_entry
from .version import VERSION

ONE = "/nodes/{node}"
KERNEL = "6.17.13-1-pve"
index(
    ONE,
    "name",
    "aplinfo", "apt", "capabilities", "ceph", "certificates", "config", "disks", "dns", "firewall", "hardware",
    "hosts", "journal", "lxc", "netstat", "network", "qemu", "query-url-metadata", "replication", "report", "rrd",
    "rrddata", "scan", "sdn", "services", "startall", "status", "stopall", "storage", "subscription", "suspendall",
    "syslog", "tasks", "termproxy", "time", "version", "vncshell", "vzdump", "wakeonlan",
)  # fmt: skip
index(ONE + "/hardware", "type", "pci", "usb")
index(ONE + "/apt", "id", "changelog", "repositories", "update", "versions")
index(ONE + "/capabilities", "name", "qemu")
index(ONE + "/capabilities/qemu", "name", "cpu", "cpu-flags", "machines", "migration")
index(ONE + "/scan", "method", "cifs", "iscsi", "lvm", "nfs", "pbs", "zfs")
VENDORS = {"10de": "NVIDIA Corporation", "1002": "AMD/ATI", "8086": "Intel Corporation"}
PACKAGES = {
    "proxmox-ve": "9.2.0", "pve-manager": "9.2.11", "qemu-server": "9.2.6", "pve-container": "6.1.10",
    "libpve-common-perl": "9.2.1", "libpve-access-control": "9.1.1", "libpve-storage-perl": "9.1.7",
    "libpve-guest-common-perl": "6.0.2", "pve-cluster": "9.1.6", "pve-firewall": "6.0.4", "pve-ha-manager": "5.2.0",
    "libpve-http-server-perl": "6.0.5", "libpve-network-perl": "1.3.0",
}  # fmt: skip


@route("GET", "/nodes")
def listing(call: Call) -> list[dict[str, Any]]:
    from ..certificate import fingerprint

    entry = node_entry(call)
    for key in ("cgroup-mode", "host-arch"):
        entry.pop(key)
    return [{**entry, "ssl_fingerprint": fingerprint(call.pve.state)}]


@route("GET", ONE + "/version")
def version(call: Call) -> dict[str, str]:
    return {**VERSION}


@route("GET", ONE + "/status")
def status(call: Call) -> dict[str, Any]:
    node, entry = call.pve.node, node_entry(call)
    used = entry.get("mem", 1 << 30)
    model = "pvelab (simulated)"
    return {
        "uptime": int(time.time() - call.pve.started),
        "cpu": 0,
        "wait": 0,
        "idle": 0,
        "loadavg": ["0.00", "0.00", "0.00"],
        "pveversion": f"pve-manager/{VERSION['version']}/{VERSION['repoid']}",
        "kversion": f"Linux {KERNEL} #1 SMP PREEMPT_DYNAMIC pvelab",
        "current-kernel": {
            "sysname": "Linux",
            "release": KERNEL,
            "version": "#1 SMP PREEMPT_DYNAMIC pvelab",
            "machine": "x86_64",
        },
        "boot-info": {"mode": "efi", "secureboot": 0},
        "memory": {"total": node.memory, "used": used, "free": node.memory - used, "available": node.memory - used},
        "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": {"total": node.disk, "used": 1 << 30, "free": node.disk - (1 << 30), "avail": node.disk - (1 << 30)},
        "ksm": {"shared": 0},
        "cpuinfo": {
            "cpus": node.cores,
            "cores": max(node.cores // 2, 1),
            "sockets": 1,
            "model": model,
            "mhz": "3000.000",
            "hvm": "1",
            "user_hz": 100,
            "flags": "svm",
        },
    }


@route("POST", ONE + "/status")
def power(call: Call) -> None:
    raise ApiError(500, "pvelab: the node can't be rebooted or shut down through the API; use `pvelab down`\n")


def pci_devices(call: Call) -> list[dict[str, Any]]:
    """The cards that the lab's configuration names, each in an IOMMU group of its own."""
    found = []
    for number, gpu in enumerate(call.pve.node.gpus, 1):
        vendor, _, device = gpu.id.partition(":")
        common = {
            "vendor": f"0x{vendor}",
            "vendor_name": VENDORS.get(vendor, vendor),
            "iommugroup": 10 + number,
            "subsystem_vendor": f"0x{vendor}",
            "subsystem_vendor_name": VENDORS.get(vendor, vendor),
        }
        name = f"{gpu.name} (simulated)"
        audio = f"{gpu.name} audio (simulated)"
        functions = (("0", "0x030000", f"0x{device}", name), ("1", "0x040300", "0x22e9", audio))
        for function, kind, ident, text in functions:
            item = {"id": f"0000:{number:02x}:00.{function}", "class": kind, "device": ident, "device_name": text}
            found.append({**item, **common, "subsystem_device": ident})
    return found


@route("GET", ONE + "/hardware/pci")
def pci(call: Call) -> list[dict[str, Any]]:
    from ..words import split_list

    hidden = split_list(str(call.get("pci-class-blacklist", "05;06;0b")))
    found = [d for d in pci_devices(call) if not any(d["class"][2:].startswith(h) for h in hidden)]
    if not call.flag("verbose", default=True):
        return [{"id": d["id"]} for d in found]
    return found


@route("GET", ONE + "/hardware/pci/{pci-id-or-mapping}")
def pci_directory(call: Call) -> list[dict[str, str]]:
    return [{"method": "mdev"}]


@route("GET", ONE + "/hardware/pci/{pci-id-or-mapping}/mdev")
def mdev(call: Call) -> list[Any]:
    return []


@route("GET", ONE + "/hardware/usb")
def usb(call: Call) -> list[Any]:
    return []


@route("GET", ONE + "/apt/versions")
def packages(call: Call) -> list[dict[str, Any]]:
    found = []
    for name, release in PACKAGES.items():
        item: dict[str, Any] = {"Package": name, "Title": name, "Description": name, "Version": release}
        item |= {"OldVersion": release, "CurrentState": "Installed", "Arch": "all", "Origin": "Proxmox"}
        item |= {"Section": "admin", "Priority": "optional"}
        if name == "proxmox-ve":
            item["RunningKernel"] = KERNEL
        if name == "pve-manager":
            item["ManagerVersion"] = f"{VERSION['version']}/{VERSION['repoid']}"
        found.append(item)
    return found


@route("GET", ONE + "/apt/update")
def updates(call: Call) -> list[Any]:
    return []


@route("POST", ONE + "/apt/update")
def refresh(call: Call) -> str:
    return call.start("aptupdate", "", lambda log: log("pvelab: no package lists to refresh"))


@route("GET", ONE + "/time")
def clock(call: Call) -> dict[str, Any]:
    now = time.time()
    zone = str(call.pve.table("node").get("timezone", "UTC"))
    return {"timezone": zone, "time": int(now), "localtime": int(now)}


@route("PUT", ONE + "/time")
def set_zone(call: Call) -> None:
    _keep(call, {"timezone": call["timezone"]})


def _keep(call: Call, values: dict[str, Any]) -> None:
    with call.pve.cluster.lock:
        table = call.pve.table("node")
        for key, value in values.items():
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        call.pve.cluster.save()


@route("GET", ONE + "/dns")
def dns(call: Call) -> dict[str, Any]:
    table = call.pve.table("node")
    server = table.get("dns1", call.pve.node.gateway or "192.168.1.1")
    found = {"search": table.get("search", "home.arpa"), "dns1": server}
    return {**found, **{k: table[k] for k in ("dns2", "dns3") if table.get(k)}}


@route("PUT", ONE + "/dns")
def set_dns(call: Call) -> None:
    _keep(call, {key: call.get(key) for key in ("search", "dns1", "dns2", "dns3")})


@route("GET", ONE + "/hosts")
def hosts(call: Call) -> dict[str, str]:
    import hashlib

    node = call.pve.node
    text = f"127.0.0.1 localhost.localdomain localhost\n{node.address} {node.name}.home.arpa {node.name}\n"
    return {"data": text, "digest": hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()}


CONFIG = ("description", "startall-onboot-delay", "wakeonlan", "location", "ballooning-target")


@route("GET", ONE + "/config")
def config(call: Call) -> dict[str, Any]:
    import hashlib

    found = {k: v for k, v in call.pve.table("node").items() if k in CONFIG}
    text = "".join(f"{k}: {v}\n" for k, v in sorted(found.items()))
    found["digest"] = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    wanted = call.get("property", "all")
    return found if wanted == "all" else {k: v for k, v in found.items() if k in (wanted, "digest")}


@route("PUT", ONE + "/config")
def set_config(call: Call) -> None:
    from ..words import split_list

    values = {k: call[k] for k in CONFIG if call.has(k)}
    _keep(call, {**dict.fromkeys(split_list(str(call.get("delete", "")))), **values})


@route("GET", ONE + "/netstat")
def netstat(call: Call) -> list[Any]:
    return []


@route("GET", ONE + "/syslog")
def syslog(call: Call) -> list[dict[str, Any]]:
    call.attributes["total"] = 1
    return [{"n": 1, "t": "pvelab: the node keeps its journal itself"}]


@route("GET", ONE + "/journal")
def journal(call: Call) -> list[str]:
    return []


@route("GET", ONE + "/capabilities/qemu/machines")
def machines(call: Call) -> list[dict[str, str]]:
    return [
        {"id": f"pc-{kind}-{v}", "type": kind, "version": v}
        for v in ("10.1", "10.0", "9.2", "9.0", "8.1")
        for kind in ("i440fx", "q35")
    ]


@route("GET", ONE + "/capabilities/qemu/cpu")
def cpus(call: Call) -> list[dict[str, Any]]:
    names = ("host", "max", "kvm64", "qemu64", "x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4")
    return [{"name": name, "vendor": "default", "custom": 0} for name in names]


@route("GET", ONE + "/capabilities/qemu/migration")
def migration(call: Call) -> dict[str, Any]:
    return {"has-dbus-vmstate": 1}


@route("GET", ONE + "/aplinfo")
def templates(call: Call) -> list[Any]:
    return []


@route("POST", ONE + "/aplinfo")
def download_template(call: Call) -> None:
    raise failure(f"no such template '{call['template']}'")


def _bulk(call: Call, kind: str, start: bool) -> str:
    from ..words import split_list
    from . import lxc_status, qemu_status

    chosen = {int(v) for v in split_list(str(call.get("vms", "")))}

    def work(log: Any) -> None:
        for conf in call.pve.guests.all():
            wanted = conf.vmid in chosen if chosen else (not start or conf.values.get("onboot") == "1")
            if not wanted or call.pve.running(conf.vmid) == start:
                continue
            if not call.allowed(f"/vms/{conf.vmid}", "VM.PowerMgmt"):
                continue
            params = {"node": call.pve.node.name, "vmid": str(conf.vmid)}
            below = Call(call.pve, call.user, params)
            module: Any = lxc_status if conf.kind == "lxc" else qemu_status
            log(f"{'Starting' if start else 'Stopping'} {'CT' if conf.kind == 'lxc' else 'VM'} {conf.vmid}")
            upid = (module.start if start else module.shutdown)(below)
            call.pve.tasks.all[upid].done.wait(600)

    return call.start(kind, "", work)


@route("POST", ONE + "/startall")
def startall(call: Call) -> str:
    return _bulk(call, "startall", True)


@route("POST", ONE + "/stopall")
def stopall(call: Call) -> str:
    return _bulk(call, "stopall", False)
