"""storage.cfg: definitions of storages."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from .. import volumes
from ..digests import CHANGED, digest
from ..errors import existing, failure, prefixed, refuse_if
from ..registry import Call, route
from ..sections import section, typed
from ..tables import table
from ..words import split_list, truth

KNOWN: dict[str, dict[str, str]] = table("storage types")
TYPES = {kind: section(known["required"], known["optional"]) for kind, known in KNOWN.items()}
SHARED = {"iscsi", "nfs", "cifs", "rbd", "cephfs", "iscsidirect", "zfs", "pbs"}
MOUNTED = {"nfs", "cifs", "cephfs"}
SENSITIVE = {"password", "encryption-key", "master-pubkey", "keyring"}
BORN_AGAIN = {
    "type": "dir", "priority": 0, "path": "/var/lib/vz", "prune-backups": "keep-all=1",
    "content": "backup,images,iso,rootdir,snippets,vztmpl",
}  # fmt: skip
Storage = dict[str, Any]


def _shown(call: Call, sid: str) -> Storage:
    config = volumes.storage(call.pve, sid)
    found = {k: v for k, v in config.items() if k not in SENSITIVE}
    found["content"] = ",".join(sorted(volumes.contents(config)))
    if "content-dirs" in found:
        found["content-dirs"] = volumes.directories(config)
    return {**found, "storage": sid, "digest": digest(call.pve.storages.data)}


@route("GET", "/storage")
def listing(call: Call) -> list[Storage]:
    """The definitions of all storages that the caller may see."""
    return [
        _shown(call, sid)
        for sid, config in sorted(call.pve.storages.data.items())
        if call.allowed(f"/storage/{sid}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)
        and call.get("type") in (None, config["type"])
    ]


@route("GET", "/storage/{storage}")
def get(call: Call) -> Storage:
    """One storage's definition, without secrets."""
    return _shown(call, str(call["storage"]))


def _checked(call: Call, kind: str, new: Storage, create: bool) -> Storage:
    """The options as they are kept; raises what PVE says to wrong ones."""
    refuse_if(kind not in TYPES, f"unknown section type '{kind}'")
    if not create:
        _refuse_empty(call, kind)
    TYPES[kind].check(new, create)
    found = typed("POST /storage", new)
    if "content" in found:
        found["content"] = _content(kind, str(found["content"]))
    if create and kind in {"dir", *MOUNTED}:
        if not re.fullmatch(r"/[-/a-zA-Z0-9_.@]+", found["path"]):
            raise failure(f"illegal path for directory storage: {found['path']}")
        found["path"] = posixpath.normpath(found["path"])
    return found


def _refuse_empty(call: Call, kind: str) -> None:
    for name in sorted(call.emptied & (TYPES[kind].required | TYPES[kind].optional)):
        raise failure(f"got undefined value for option '{name}'")


def _content(kind: str, text: str) -> str:
    valid = set(KNOWN[kind]["content"].split())
    wanted = {item for item in split_list(text) if item in valid}
    refuse_if("none" in wanted and len(wanted) > 1, "unable to combine 'none' with other content types")
    refuse_if(not wanted and "none" not in valid, "storage does not support content type 'none'")
    return ",".join(sorted(wanted))


def _store(call: Call, sid: str, config: Storage) -> None:
    kept = {k: v for k, v in config.items() if k != "disable" or truth(v)}
    if config["type"] in SHARED:
        kept["shared"] = 1
    if not kept.get("content"):
        kept["content"] = KNOWN[config["type"]]["usual content"]
    if sid == "local":
        kept.pop("nodes", None)
    call.pve.storages.data = {**call.pve.storages.data, sid: kept}
    call.pve.storages.save()


def _answer(sid: str, kind: str) -> Storage:
    return {"storage": sid, "type": kind, **({"config": {}} if kind == "pbs" else {})}


@route("POST", "/storage")
def create(call: Call) -> Storage:
    """Defines a storage; what it points to is taken on trust."""
    new = dict(call.params)
    kind, sid = str(new.pop("type")), str(new.pop("storage"))
    if kind in MOUNTED:
        new.setdefault("path", f"/mnt/pve/{sid}")
    config = _checked(call, kind, new, True)
    with call.pve.storages.lock:
        refuse_if(sid in call.pve.storages.data, f"create storage failed: storage ID '{sid}' already defined")
        _store(call, sid, {"type": kind, **config})
    return _answer(sid, kind)


@route("PUT", "/storage/{storage}")
def update(call: Call) -> Storage:
    """Changes a storage's definition."""
    new = call.without("storage", "digest", "delete")
    delete, sid = call.words("delete"), str(call["storage"])
    failed = "update storage failed: "
    with call.pve.storages.lock:
        call.check_digest(digest(call.pve.storages.data), f"{failed}{CHANGED}")
        old = existing(call.pve.storages.data.get(sid), f"{failed}storage '{sid}' does not exist")
        with prefixed(failed):
            config = _checked(call, old["type"], new, False)
            TYPES[old["type"]].remove([name for name in delete if name not in SENSITIVE], config)
        _store(call, sid, {k: v for k, v in old.items() if k not in delete} | config)
    return _answer(sid, old["type"])


@route("DELETE", "/storage/{storage}")
def delete(call: Call) -> None:
    """Removes a storage's definition, not its volumes; `local` is back at once."""
    sid = str(call["storage"])
    with call.pve.storages.changed():
        storages = call.pve.storages.data
        refuse_if(sid not in storages, f"delete storage failed: storage '{sid}' does not exist")
        if any(str(other.get("base", "")).startswith(f"{sid}:") for other in storages.values()):
            text = "can't remove storage - storage is used as base of another storage"
            raise failure(f"delete storage failed: {text}")
        left = {k: v for k, v in storages.items() if k != sid}
        call.pve.storages.data = {**left, "local": dict(BORN_AGAIN)} if sid == "local" else left
    with call.pve.users.changed():
        call.pve.users.data["acl"].pop(f"/storage/{sid}", None)
        for pool in call.pve.users.data["pools"].values():
            if sid in pool["storage"]:
                pool["storage"].remove(sid)
