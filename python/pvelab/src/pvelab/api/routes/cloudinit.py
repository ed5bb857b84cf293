"""Cloud-init data of virtual machines: what the drive says, what it will say."""

from __future__ import annotations

from typing import Any

from .. import cloudinit_dump, common, guest_answers
from ..qemu_config import CLOUD
from ..registry import Call, route
from ..words import split_list
from .qemu import ONE


@route("GET", ONE + "/cloudinit")
def listing(call: Call) -> list[dict[str, Any]]:
    """The options as the current drive says them, with what differs from the configuration."""
    conf = call.pve.conf(call.vmid, "qemu")
    values, known = dict(conf.values), dict(conf.cloudinit)
    for place in (values, known):
        if "cipassword" in place:
            place["cipassword"] = "*" * 10
    added = split_list(known.pop("added", ""))
    found = [{"key": key, "pending": guest_answers.typed("qemu", key, values.get(key, ""))} for key in added]
    for key in sorted(CLOUD & values.keys()):
        if not values[key] or values[key] == "0" or key in added:
            continue
        item: dict[str, Any] = {"key": key}
        if known.get(key):
            item |= {"value": known[key], "pending": guest_answers.typed("qemu", key, values[key])}
        else:
            item["value"] = guest_answers.typed("qemu", key, values[key])
        found.append(item)
    found += [{"key": key, "delete": 1} for key in known if not values.get(key)]
    return found


@route("PUT", ONE + "/cloudinit")
def regenerate(call: Call) -> None:
    """Makes the cloud-init drive again from the configuration."""
    with call.pve.lock(call.vmid, "qemu", held="lock" in call.faults):
        conf = call.pve.conf(call.vmid, "qemu")
        common.check_lock(conf)
        if conf.cloudinit:
            fresh = conf.copy()
            fresh.cloudinit = {}
            call.pve.guests.save(fresh)


@route("GET", ONE + "/cloudinit/dump")
def dump(call: Call) -> str:
    """One of the generated files; who may not change them does not see the password."""
    values = call.pve.conf(call.vmid, "qemu").values
    mask = not call.allowed(f"/vms/{call.vmid}", "VM.Config.Cloudinit")
    node = call.pve.table("dns")
    servers = [str(node[key]) for key in ("dns1", "dns2", "dns3") if node.get(key)]
    return cloudinit_dump.dump(
        values, call.vmid, str(call["type"]), (str(node.get("search", "")).split(), servers), mask
    )
