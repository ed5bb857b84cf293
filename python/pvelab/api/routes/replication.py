"""Replication jobs: one node has nowhere to replicate to."""

from __future__ import annotations

from typing import Any

from ..errors import failure
from ..registry import Call, route

BASE = "/cluster/replication"


@route("GET", BASE)
def listing(call: Call) -> list[dict[str, Any]]:
    """All jobs: none can be made here."""
    return []


@route("POST", BASE)
def create(call: Call) -> None:
    """Refuses: a job needs a guest and a second node."""
    vmid = str(call["id"]).partition("-")[0]
    if call.pve.guests.get(int(vmid)) is None:
        raise failure(f"Guest '{vmid}' does not exist.")
    call.check(f"/vms/{vmid}", "VM.Replicate")
    raise failure(f"no such cluster node '{call['target']}'")


@route("GET", BASE + "/{id}")
def get(call: Call) -> None:
    """One job, of which there are none."""
    raise failure(f"no such replication job '{call['id']}'")


def _missing(call: Call) -> None:
    """Changes or removes a job, of which there are none."""
    raise failure(f"no such job '{call['id']}'")


route("PUT", BASE + "/{id}")(_missing)
route("DELETE", BASE + "/{id}")(_missing)
