"""Guests under high availability: who is, and how a test puts one there (the lab has one node: nothing ever moves)."""

from __future__ import annotations

import re
from typing import Any

from .. import ha
from ..digests import digest
from ..errors import existing, failure, refuse_if
from ..registry import Call, route
from ..sections import typed

BASE = "/cluster/ha/resources"
WORD = {"ct": ("lxc", "container"), "vm": ("qemu", "VM")}


def _sid(call: Call) -> str:
    """The resource id: ct:101 for 101."""
    text = str(call["sid"])
    if not text.isdigit():
        return text
    conf = existing(call.pve.guests.get(int(text)), f"unable to detect SID from VMID - VM/CT {text} does not exist")
    return ha.resource_id(conf)


def _shown(call: Call, sid: str) -> dict[str, Any]:
    table = call.pve.table("ha_resources")
    return {**table[sid], "sid": sid, "type": sid.partition(":")[0], "digest": digest(table)}


@route("GET", BASE)
def listing(call: Call) -> list[dict[str, Any]]:
    """All managed resources, or those of one type."""
    found = [_shown(call, sid) for sid in sorted(call.pve.table("ha_resources"))]
    return [item for item in found if call.get("type") in (None, item["type"])]


@route("GET", BASE + "/{sid}")
def get(call: Call) -> dict[str, Any]:
    """One managed resource."""
    sid = _sid(call)
    refuse_if(sid not in call.pve.table("ha_resources"), f"no such resource '{sid}'")
    return _shown(call, sid)


@route("POST", BASE)
def create(call: Call) -> None:
    """Puts a guest under management."""
    sid = _sid(call)
    kind, _, vmid = sid.partition(":")
    refuse_if(call.get("type", kind) != kind, "types does not match")
    refuse_if(call.has("group"), "invalid parameter 'group': ha groups have been migrated to rules")
    refuse_if(kind not in WORD, f"unknown section type '{kind}'")
    refuse_if(not re.fullmatch(r"[1-9][0-9]+", vmid), "invalid VMID")
    found = existing(call.pve.guests.get(int(vmid)), f"resource '{sid}' does not exist in cluster")
    if found.kind != WORD[kind][0]:
        raise failure(f"resource '{sid}' - guest with ID {vmid} is not a {WORD[kind][1]}")
    with call.pve.cluster.changed():
        refuse_if(sid in call.pve.table("ha_resources"), f"create resource failed: resource ID '{sid}' already defined")
        call.pve.table("ha_resources")[sid] = typed(f"POST {BASE}", call.without("sid", "type"))


@route("DELETE", BASE + "/{sid}")
def delete(call: Call) -> None:
    """Ends the management of a guest."""
    sid = _sid(call)
    with call.pve.cluster.changed():
        if call.pve.table("ha_resources").pop(sid, None) is None:
            raise failure(f"cannot delete service '{sid}', not HA managed!")
