"""Parts of a node that the lab has only as far as a client asks after them: services, disks, certificates, Ceph."""

from __future__ import annotations

import time
from typing import Any

from .. import certificate
from ..errors import failure
from ..registry import Call, index, route

ONE = "/nodes/{node}"
SERVICES = {
    "corosync": "Corosync Cluster Engine", "cron": "Regular background program processing daemon",
    "ksmtuned": "Kernel Samepage Merging (KSM) Tuning Daemon", "lxcfs": "FUSE filesystem for LXC",
    "postfix": "Postfix Mail Transport Agent", "proxmox-firewall": "Proxmox nftables firewall",
    "pve-cluster": "The Proxmox VE cluster filesystem", "pve-firewall": "Proxmox VE firewall",
    "pve-ha-crm": "PVE Cluster HA Resource Manager Daemon", "pve-ha-lrm": "PVE Local HA Resource Manager Daemon",
    "pve-lxc-syscalld": "Proxmox VE LXC Syscall Daemon", "pvedaemon": "PVE API Daemon",
    "pvefw-logger": "Proxmox VE firewall logger", "pveproxy": "PVE API Proxy Server",
    "pvescheduler": "Proxmox VE scheduler", "pvestatd": "PVE Status Daemon", "qmeventd": "PVE Qemu Event Daemon",
    "spiceproxy": "PVE SPICE Proxy Server", "sshd": "OpenBSD Secure Shell server", "syslog": "syslog.service",
    "systemd-journald": "Journal Service", "chrony": "chrony, an NTP client/server",
    "systemd-timesyncd": "systemd-timesyncd.service",
}  # fmt: skip
ESSENTIAL = ("pveproxy", "pvedaemon", "pve-cluster")
ABSENT = ("syslog", "systemd-timesyncd")
STEPS = {"hour": 60, "day": 1800, "week": 1800, "month": 21600, "year": 604800, "decade": 604800}
index(ONE + "/certificates", "name", "acme", "custom", "info")
index(ONE + "/sdn", "name", "fabrics", "vnets", "zones")
index(
    ONE + "/disks", "name", "list", "initgpt", "smart", "lvm", "lvmthin", "directory", "wipedisk", "zfs",
)  # fmt: skip
index(
    ONE + "/ceph", "name", "cmd-safety", "cfg", "crush", "fs", "init", "log", "mds", "mgr", "mon", "osd", "pool",
    "releases", "restart", "restart-bulk", "rules", "start", "status", "stop",
)  # fmt: skip
index(ONE + "/services/{service}", "subdir", "state", "start", "stop", "restart", "reload")


@route("GET", ONE + "/subscription")
def subscription(call: Call) -> dict[str, str]:
    """No subscription."""
    url = "https://www.proxmox.com/en/proxmox-virtual-environment/pricing"
    found = {"status": "notfound", "message": "There is no subscription key", "url": url}
    if call.allowed(f"/nodes/{call['node']}", "Sys.Audit"):
        found["serverid"] = certificate.fingerprint(call.pve.state).replace(":", "")[:32]
    return found


@route("GET", ONE + "/certificates/info", slow=True)
def certificates(call: Call) -> list[dict[str, Any]]:
    """The certificate that the server shows."""
    return [certificate.facts(call.pve.state)]


def _service(name: str) -> dict[str, str]:
    off = name in ABSENT
    state = {"state": "dead" if off else "running", "active-state": "inactive" if off else "active"}
    known = {"service": name, "name": name, "desc": SERVICES[name], **state}
    return {**known, "unit-state": "not-found" if off else "enabled"}


@route("GET", ONE + "/services")
def services(call: Call) -> list[dict[str, str]]:
    """The services that make the node."""
    return [_service(name) for name in sorted(SERVICES)]


@route("GET", ONE + "/services/{service}/state")
def service(call: Call) -> dict[str, str]:
    """One service."""
    return _service(str(call["service"]))


def _command(call: Call, kind: str, word: str) -> str:
    name = str(call["service"])

    def work(log: Any) -> None:
        if word == "stop" and name in ESSENTIAL:
            raise failure(f"invalid service cmd '{name} stop': refusing to stop essential service!")

    return call.start(kind, name, work)


@route("POST", ONE + "/services/{service}/start")
def start_service(call: Call) -> str:
    """Nothing to do: the lab's services run as long as the lab."""
    return _command(call, "srvstart", "start")


@route("POST", ONE + "/services/{service}/stop")
def stop_service(call: Call) -> str:
    """Nothing to do, and refused for the services that the API needs."""
    return _command(call, "srvstop", "stop")


@route("POST", ONE + "/services/{service}/restart")
def restart_service(call: Call) -> str:
    """Nothing to do: the lab's services run as long as the lab."""
    return _command(call, "srvrestart", "restart")


@route("POST", ONE + "/services/{service}/reload")
def reload_service(call: Call) -> str:
    """Nothing to do: the lab's services run as long as the lab."""
    return _command(call, "srvreload", "reload")


@route("GET", ONE + "/disks/list")
@route("GET", ONE + "/disks/lvmthin")
@route("GET", ONE + "/disks/zfs")
@route("GET", ONE + "/disks/directory")
@route("GET", ONE + "/replication")
@route("GET", ONE + "/sdn/zones")
def nothing(call: Call) -> list[Any]:
    """Nothing of the kind: the lab's node has no disks of its own and replicates nothing."""
    return []


@route("GET", ONE + "/disks/lvm")
def volume_groups(call: Call) -> dict[str, Any]:
    """The tree of volume groups: an empty one."""
    return {"leaf": 0, "children": []}


@route("GET", ONE + "/ceph/status")
@route("GET", ONE + "/ceph/crush")
@route("GET", ONE + "/ceph/rules")
@route("GET", ONE + "/ceph/mon")
@route("GET", ONE + "/ceph/mgr")
@route("GET", ONE + "/ceph/mds")
@route("GET", ONE + "/ceph/osd")
@route("GET", ONE + "/ceph/pool")
@route("GET", ONE + "/ceph/fs")
def ceph(call: Call) -> None:
    """Refused: Ceph is not installed."""
    raise failure("binary not installed: /usr/bin/ceph-mon")


@route("POST", ONE + "/wakeonlan")
def wake(call: Call) -> None:
    """Refused: the only node is the one that is asked."""
    name = str(call["node"])
    if name in ("localhost", call.pve.node.name):
        raise failure(f"'{name}' is local node, cannot wake my self!")
    raise failure(f"no such cluster node '{name}'")


@route("GET", ONE + "/rrddata")
@route("GET", ONE + "/storage/{storage}/rrddata")
def statistics(call: Call) -> list[dict[str, int]]:
    """The times of a time frame; no statistics are collected, so they hold nothing else."""
    step = STEPS[str(call["timeframe"])]
    last = int(time.time()) // step * step
    return [{"time": last - step * n} for n in range(70, 1, -1)]


@route("GET", ONE + "/firewall/log")
def firewall_log(call: Call) -> list[dict[str, Any]]:
    """The log of the node's firewall: that its logger runs."""
    line = f"0 5 - {time.strftime('%d/%b/%Y:%H:%M:%S +0000', time.gmtime(call.pve.started))} starting pvefw logger"
    call.attributes["total"] = 1
    return [{"n": 1, "t": line}] if not call.number("start") else []
