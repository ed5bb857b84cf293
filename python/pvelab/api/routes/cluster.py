"""The cluster: resources, next VMID, status, options, log."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from ...backend import RunState
from .. import volumes
from ..errors import bad, failure
from ..guestconf import GuestConf
from ..registry import Call, index, route
from ..schema import split_property_string
from ..surface import parameters
from ..words import split_list
from . import lxc, qemu

index(
    "/cluster",
    "name",
    "replication", "metrics", "notifications", "config", "firewall", "backup", "backup-info", "ha", "acme", "ceph",
    "jobs", "mapping", "bulk-action", "sdn", "log", "options", "resources", "status", "tasks", "nextid", "qemu",
)  # fmt: skip
NODE_ID = 1


def guest_entry(call: Call, conf: GuestConf, state: RunState | None) -> dict[str, Any]:
    """A guest as /cluster/resources and pools list it."""
    found = (lxc if conf.kind == "lxc" else qemu).status(call, conf, state)
    entry = {
        "id": f"{conf.kind}/{conf.vmid}",
        "vmid": conf.vmid,
        "node": call.pve.node.name,
        "type": conf.kind,
        "status": found["status"],
        "name": found["name"],
        "template": found.get("template", 0),
        "maxcpu": found["cpus"],
    }
    for key in ("uptime", "cpu", "maxmem", "mem", "maxdisk", "disk", "netin", "netout", "diskread", "diskwrite"):
        entry[key] = found.get(key, 0)
    entry["memhost"] = found.get("memhost", found.get("mem", 0))
    return entry


def storage_entry(call: Call, sid: str) -> dict[str, Any]:
    """A storage as /cluster/resources and pools list it."""
    config = call.pve.storages.data[sid]
    return {
        "id": f"storage/{call.pve.node.name}/{sid}",
        "storage": sid,
        "node": call.pve.node.name,
        "type": "storage",
        "plugintype": config["type"],
        "status": "available",
        "shared": int(config.get("shared", 0)),
        "content": ",".join(sorted(volumes.contents(config))),
        "maxdisk": volumes.total(call.pve, sid),
        "disk": volumes.used(call.pve, sid),
    }


def node_entry(call: Call) -> dict[str, Any]:
    """The node as /cluster/resources lists it."""
    node = call.pve.node
    found: dict[str, Any] = {
        "id": f"node/{node.name}",
        "node": node.name,
        "type": "node",
        "status": "online",
        "level": "",
    }
    if call.allowed(f"/nodes/{node.name}", "Sys.Audit"):
        found |= {
            "uptime": int(time.time() - call.pve.started),
            "cpu": 0,
            "mem": sum(s.memory for s in call.pve.runtime.all().values()) + (1 << 30),
            "disk": 1 << 30,
            "maxcpu": node.cores,
            "maxmem": node.memory,
            "maxdisk": node.disk,
        }
    return {**found, "cgroup-mode": 2, "host-arch": "x86_64"}


@route("GET", "/cluster/resources")
def resources(call: Call) -> list[dict[str, Any]]:
    kind = call.get("type")
    found: list[dict[str, Any]] = []
    pools = call.pve.users.data["pools"]
    visible = {name for name in pools if call.allowed(f"/pool/{name}", "Pool.Audit")}
    entries = {name: {"id": f"/pool/{name}", "pool": name, "type": "pool"} for name in sorted(visible)}
    if kind in (None, "pool"):
        found += entries.values()
    if kind in (None, "vm"):
        found += _guests(call, entries)
    if kind in (None, "node"):
        found.append(node_entry(call))
    if kind in (None, "storage"):
        for sid in sorted(call.pve.storages.data):
            if call.allowed(f"/storage/{sid}", "Datastore.Audit") and _available(call, sid):
                found.append(storage_entry(call, sid))
    if kind in (None, "network") and call.allowed("/sdn/zones/localnetwork", "SDN.Audit"):
        found.append(
            {
                "id": f"network/{call.pve.node.name}/zone/localnetwork",
                "type": "network",
                "network-type": "zone",
                "network": "localnetwork",
                "node": call.pve.node.name,
                "status": "ok",
            }
        )
    return found


def _available(call: Call, sid: str) -> bool:
    config = call.pve.storages.data[sid]
    nodes = config.get("nodes")
    return not int(config.get("disable", 0)) and (not nodes or call.pve.node.name in nodes.split(","))


def _guests(call: Call, pools: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    states = call.pve.runtime.all()
    pool_of = call.pve.users.pools_by_guest()
    managed = call.pve.table("ha_resources")
    for conf in call.pve.guests.all():
        entry = guest_entry(call, conf, states.get(conf.vmid))
        pool = pool_of.get(conf.vmid)
        if pool in pools and entry["uptime"]:
            _add_up(pools[pool], entry)
        if not call.allowed(f"/vms/{conf.vmid}", "VM.Audit"):
            continue
        for key in ("lock", "tags"):
            if conf.values.get(key) is not None:
                entry[key] = conf.values[key]
        if pool in pools:
            entry["pool"] = pool
        sid = f"{'ct' if conf.kind == 'lxc' else 'vm'}:{conf.vmid}"
        if sid in managed:
            entry["hastate"] = managed[sid].get("state", "started")
        found.append(entry)
    return found


def _add_up(pool: dict[str, Any], entry: dict[str, Any]) -> None:
    """A pool's figures: the longest uptime, sums of memory and cores, the weighted load."""
    cores = pool.get("maxcpu", 0) + entry["maxcpu"]
    load = pool.get("cpu", 0) * pool.get("maxcpu", 0) + entry["cpu"] * entry["maxcpu"]
    pool["uptime"] = max(pool.get("uptime", 0), entry["uptime"])
    pool["mem"] = pool.get("mem", 0) + entry["mem"]
    pool["maxmem"] = pool.get("maxmem", 0) + entry["maxmem"]
    pool["cpu"], pool["maxcpu"] = load / cores if cores else 0, cores


@route("GET", "/cluster/nextid")
def nextid(call: Call) -> str:
    if call.has("vmid"):
        vmid = str(call["vmid"])
        if call.pve.guests.get(int(vmid)):
            raise bad(vmid=f"VM {vmid} already exists")
        return vmid
    options = option_fields(call.pve.table("options"), "next-id")
    lower, upper = int(options.get("lower", 100)), int(options.get("upper", 1_000_000))
    for vmid_number in range(lower, upper):
        if not call.pve.guests.get(vmid_number):
            return str(vmid_number)
    raise failure(f"unable to get any free VMID in range [{lower}, {upper}]")


@route("GET", "/cluster/status")
def status(call: Call) -> list[dict[str, Any]]:
    node = call.pve.node
    return [
        {
            "type": "node",
            "id": f"node/{node.name}",
            "name": node.name,
            "nodeid": 0,
            "local": 1,
            "online": 1,
            "ip": node.address,
            "level": "",
        }
    ]


@route("GET", "/cluster/log")
def log(call: Call) -> list[dict[str, Any]]:
    return []


def option_fields(options: dict[str, Any], name: str) -> dict[str, Any]:
    """The fields of a datacenter option that is a property string."""
    text = options.get(name)
    schema = parameters("PUT", "/cluster/options").get(name, {}).get("format")
    return split_property_string(schema, text) if text and isinstance(schema, dict) else {}


def shown_options(options: dict[str, Any]) -> dict[str, Any]:
    """Datacenter options as GET gives them: property strings taken apart, tag lists as arrays."""
    schema = parameters("PUT", "/cluster/options")
    found: dict[str, Any] = {}
    for name, value in options.items():
        known = schema.get(name, {})
        if name == "registered-tags":
            found[name] = split_list(value)
        elif isinstance(known.get("format"), dict) and name not in ("bwlimit", "migration"):
            found[name] = _typed_fields(known["format"], split_property_string(known["format"], value))
        elif known.get("type") in ("integer", "boolean"):
            found[name] = int(value)
        else:
            found[name] = value
    if "migration" in options:
        found["migration"] = split_property_string(schema["migration"]["format"], options["migration"])
    return found


def _typed_fields(schema: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    for name, value in fields.items():
        if name in ("user-allow-list",):
            fields[name] = split_list(value)
        elif schema.get(name, {}).get("type") in ("integer", "boolean") and str(value).isdigit():
            fields[name] = str(value)
    return fields


@route("GET", "/cluster/options")
def get_options(call: Call) -> dict[str, Any]:
    options = call.pve.table("options")
    found = shown_options(options)
    if call.allowed("/", "Sys.Audit"):
        text = "".join(f"{k}: {v}\n" for k, v in sorted(options.items()))
        return {**found, "digest": hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()} if text else found
    return {k: v for k, v in found.items() if k in ("console", "tag-style", "user-tag-access", "consent-text")}


@route("PUT", "/cluster/options")
def put_options(call: Call) -> None:
    new = {k: str(v) for k, v in call.params.items()}
    delete = split_list(new.pop("delete", ""))
    with call.pve.cluster.lock:
        options = call.pve.table("options")
        for name in delete:
            options.pop(name, None)
        options |= new
        call.pve.cluster.save()


index("/cluster/jobs", "subdir", "schedule-analyze", "realm-sync")
