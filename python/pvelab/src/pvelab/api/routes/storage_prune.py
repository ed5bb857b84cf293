"""Pruning of backups: what would go, and a task that removes it."""

from __future__ import annotations

from typing import Any

from .. import volumes
from ..errors import failure, refuse_if
from ..pruning import marked, prune
from ..registry import Call, route
from ..schema import named_fields
from ..storage_paths import activated
from ..tasks import Log
from .storage_content import ONE

PATH = ONE + "/prunebackups"


def _keep(call: Call, sid: str) -> dict[str, Any]:
    config = volumes.storage(call.pve, sid)
    refuse_if("backup" not in volumes.contents(config), f"storage '{sid}' does not support backups")
    text = call.get("prune-backups", config.get("prune-backups"))
    if text is None:
        raise failure(f"no prune-backups options configured for storage '{sid}'")
    activated(call, sid)
    return text if isinstance(text, dict) else named_fields("prune-backups", str(text))


def _scope(call: Call) -> tuple[str, str | None, str | None]:
    vmid = str(call["vmid"]) if call.has("vmid") else None
    return str(call["storage"]), vmid, str(call["type"]) if call.has("type") else None


@route("GET", PATH)
def preview(call: Call) -> list[dict[str, Any]]:
    """What pruning would do to each backup."""
    sid, vmid, kind = _scope(call)
    return marked(call, sid, vmid, kind, _keep(call, sid))


@route("DELETE", PATH)
def delete(call: Call) -> str:
    """Prunes in a task."""
    sid, vmid, kind = _scope(call)
    if vmid is not None:
        call.check(f"/storage/{sid}", "Datastore.AllocateSpace")
        call.check(f"/vms/{vmid}", "VM.Backup")
    else:
        call.check(f"/storage/{sid}", "Datastore.Allocate")

    def work(log: Log) -> None:
        prune(call, sid, vmid, kind, _keep(call, sid), log)

    return call.start("prunebackups", f"{vmid}@{sid}" if vmid else sid, work)
