"""The cluster: resources, next VMID, status."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from ...backend import RunState
from .. import ha, volumes
from ..errors import bad, refuse_if
from ..guestconf import GuestConf
from ..registry import Call, route
from ..rows import Entry, JsonText, dumps
from . import lxc, qemu


def guest_entry(call: Call, conf: GuestConf, state: RunState | None) -> dict[str, Any]:
    """A guest as /cluster/resources and pools list it."""
    found = (lxc if conf.kind == "lxc" else qemu).status(call, conf, state)
    entry = {
        "id": f"{conf.kind}/{conf.vmid}", "vmid": conf.vmid, "node": call.pve.node.name, "type": conf.kind,
        "status": found["status"], "name": found["name"], "template": found.get("template", 0),
        "maxcpu": _number(found["cpus"]),
    }  # fmt: skip
    for key in ("uptime", "cpu", "maxmem", "mem", "maxdisk", "disk", "netin", "netout", "diskread", "diskwrite"):
        entry[key] = found.get(key, 0)
    entry["memhost"] = found.get("memhost", found.get("mem", 0))
    return entry


def _number(cpus: int | str) -> int | float:
    found = float(cpus)
    return int(found) if found.is_integer() else found


def storage_entry(call: Call, sid: str) -> dict[str, Any]:
    """A storage as /cluster/resources and pools list it."""
    config = call.pve.storages.data[sid]
    return {
        "id": f"storage/{call.pve.node.name}/{sid}", "storage": sid, "node": call.pve.node.name, "type": "storage",
        "plugintype": config["type"], "status": "available", "shared": int(config.get("shared", 0)),
        "content": ",".join(sorted(volumes.contents(config))), "maxdisk": volumes.total(call.pve, sid),
        "disk": volumes.used(call.pve, sid),
    }  # fmt: skip


def _unknown(call: Call, sid: str) -> dict[str, Any]:
    """A storage of which nothing was told yet."""
    return {**storage_entry(call, sid), "status": "unknown", "maxdisk": 0, "disk": 0}


def node_entry(call: Call) -> dict[str, Any]:
    """The node as /cluster/resources lists it."""
    node = call.pve.node
    found: dict[str, Any] = {
        "id": f"node/{node.name}", "node": node.name, "type": "node", "status": "online", "level": "",
    }  # fmt: skip
    if call.allowed(f"/nodes/{node.name}", "Sys.Audit"):
        found |= {
            "uptime": int(time.time() - call.pve.started), "cpu": 0,
            "mem": sum(s.memory for s in call.pve.runtime.all().values()) + (1 << 30), "disk": 1 << 30,
            "maxcpu": node.cores, "maxmem": node.memory, "maxdisk": node.disk,
        }  # fmt: skip
    return {**found, "cgroup-mode": 2}


@route("GET", "/cluster/resources")
def resources(call: Call) -> JsonText:
    """Everything in the cluster that the caller may see."""
    kind = call.get("type")
    found: list[str] = []
    pools = call.pve.users.data["pools"]
    visible = {name for name in pools if call.allowed(f"/pool/{name}", "Pool.Audit")}
    entries = {name: {"id": f"/pool/{name}", "pool": name, "type": "pool"} for name in sorted(visible)}
    guests = _guests(call, entries, adding=kind is None) if kind in (None, "vm") else []
    if kind in (None, "pool"):
        found += map(dumps, entries.values())
    found += guests
    if kind in (None, "node"):
        found.append(dumps(node_entry(call)))
    if kind in (None, "storage"):
        for sid, config in sorted(call.pve.storages.data.items()):
            if call.allowed(f"/storage/{sid}", "Datastore.Audit") and volumes.is_enabled(config, call.pve.node.name):
                known = sid in call.pve.broadcasted().storages
                found.append(dumps(storage_entry(call, sid) if known else _unknown(call, sid)))
    if kind in (None, "network") and call.allowed("/sdn/zones/localnetwork", "SDN.Audit"):
        entry = {
            "id": f"network/{call.pve.node.name}/zone/localnetwork", "type": "network", "network-type": "zone",
            "network": "localnetwork", "node": call.pve.node.name, "status": "ok",
        }  # fmt: skip
        found.append(dumps(entry))
    return JsonText(f"[{','.join(found)}]")


def _guests(call: Call, pools: dict[str, Entry], *, adding: bool) -> list[str]:
    """The rows of all guests that the caller may see; with `adding` their figures get into those of the pools."""
    found = []
    pve = call.pve
    rows, states, confs = pve.rows["resources", "vm"], pve.broadcasted().states, pve.guests.all()
    pool_of, in_pool = pve.users.pools_by_guest(), {name: f',"pool":{dumps(name)}' for name in pools}
    managed = pve.table("ha_resources")
    for conf in confs:
        vmid = conf.vmid
        state, pool = states.get(vmid), pool_of.get(vmid, "")
        wanted = _ha_state(managed, conf) if managed else None
        row = rows.row(vmid, (conf, state, wanted), partial(_entry, call, conf, state, wanted))
        uptime = int(state.uptime) if state else 0
        if adding and uptime and pool in pools:
            _add_up(pools[pool], row.entry, uptime)
        if call.allowed(f"/vms/{vmid}", "VM.Audit"):
            found.append(row.text(uptime, in_pool.get(pool, "")))
    rows.keep_only(confs)
    return found


def _ha_state(managed: Entry, conf: GuestConf) -> str | None:
    """The state that the HA stack wants a guest to have; None when it does not manage it."""
    found = managed.get(ha.resource_id(conf))
    return found.get("state", "started") if found is not None else None


def _entry(call: Call, conf: GuestConf, state: RunState | None, wanted: str | None) -> Entry:
    """A guest's entry with what only /cluster/resources says of it, its pool aside."""
    entry = guest_entry(call, conf, state)
    more = {"lock": conf.values.get("lock"), "tags": conf.values.get("tags"), "hastate": wanted}
    return entry | {key: value for key, value in more.items() if value is not None}


def _add_up(pool: Entry, entry: Entry, uptime: int) -> None:
    """A pool's figures: the longest uptime, sums of memory and cores, the weighted load."""
    cores = pool.get("maxcpu", 0) + entry["maxcpu"]
    load = pool.get("cpu", 0) * pool.get("maxcpu", 0) + entry["cpu"] * entry["maxcpu"]
    pool["uptime"] = max(pool.get("uptime", 0), uptime)
    pool["mem"] = pool.get("mem", 0) + entry["mem"]
    pool["maxmem"] = pool.get("maxmem", 0) + entry["maxmem"]
    pool["cpu"], pool["maxcpu"] = load / cores if cores else 0, cores


@route("GET", "/cluster/nextid")
def nextid(call: Call) -> str:
    """A VMID that is free, or whether one is."""
    if call.has("vmid"):
        vmid = str(call["vmid"])
        refuse_if(call.pve.guests.get(int(vmid)), bad(vmid=f"VM {vmid} already exists"))
        return vmid
    return str(next(number for number in range(100, 1_000_000) if not call.pve.guests.get(number)))
