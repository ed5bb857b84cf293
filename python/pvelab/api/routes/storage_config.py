"""storage.cfg: definitions of storages."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from .. import volumes
from ..errors import failure
from ..registry import Call, route
from ..words import number, split_list

COMMON = "nodes disable content bwlimit"
FILES = f"{COMMON} content-dirs prune-backups max-protected-backups format mkdir create-base-path create-subdirs"
FILES += " preallocation snapshot-as-volume-chain"
# Per type: options that are required and fixed, then the others.
TYPES: dict[str, tuple[str, str]] = {
    "dir": ("path", f"{FILES} shared is_mountpoint"),
    "btrfs": ("path", f"{FILES} shared is_mountpoint nocow"),
    "nfs": ("server export", f"{FILES} path options"),
    "cifs": ("server share", f"{FILES} path subdir username password domain smbversion options"),
    "zfspool": ("pool", f"{COMMON} blocksize sparse mountpoint"),
    "lvmthin": ("vgname thinpool", COMMON),
    "lvm": ("vgname", f"{COMMON} shared saferemove saferemove-stepsize saferemove_throughput base tagged_only"),
    "pbs": (
        "server datastore",
        f"{COMMON} namespace port username password encryption-key master-pubkey prune-backups"
        " max-protected-backups fingerprint",
    ),
}
CONTENT: dict[str, set[str]] = {
    "zfspool": {"images", "rootdir"},
    "lvmthin": {"images", "rootdir"},
    "lvm": {"images", "rootdir"},
    "pbs": {"backup", "none"},
}
DEFAULT_CONTENT = {"dir": "images,rootdir", "btrfs": "images,rootdir", "nfs": "images", "cifs": "images"}
DEFAULT_CONTENT |= {"zfspool": "images,rootdir", "lvmthin": "images,rootdir", "lvm": "images", "pbs": "backup"}
FIXED = {"path", "server", "export", "share", "pool", "vgname", "thinpool", "datastore", "snapshot-as-volume-chain"}
SENSITIVE = {"password", "encryption-key", "master-pubkey"}


def digest(call: Call) -> str:
    """The digest of the whole file."""
    text = json.dumps(call.pve.storages.data, sort_keys=True)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _shown(call: Call, sid: str) -> dict[str, Any]:
    config = volumes.storage(call.pve, sid)
    found = {k: v for k, v in config.items() if k not in SENSITIVE}
    found["content"] = ",".join(sorted(volumes.contents(config)))
    return {**found, "storage": sid, "digest": digest(call)}


@route("GET", "/storage")
def listing(call: Call) -> list[dict[str, Any]]:
    return [
        _shown(call, sid)
        for sid, config in sorted(call.pve.storages.data.items())
        if call.allowed(f"/storage/{sid}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)
        and call.get("type") in (None, config["type"])
    ]


@route("GET", "/storage/{storage}")
def get(call: Call) -> dict[str, Any]:
    return _shown(call, str(call["storage"]))


def _checked(call: Call, kind: str, new: dict[str, Any], create: bool) -> dict[str, Any]:
    required, optional = (set(part.split()) for part in TYPES[kind])
    found: dict[str, Any] = {}
    for key, value in new.items():
        if not create and key in FIXED & required:
            raise failure(f"can't change value of fixed parameter '{key}'")
        if key not in required | optional:
            raise failure(f"unexpected property '{key}'")
        if key == "content":
            found[key] = _content(kind, str(value))
        else:
            found[key] = number(str(value)) if call_type(key) in ("boolean", "integer", "number") else value
    for key in sorted(required) if create else ():
        if key not in new:
            raise failure(f"missing value for required option '{key}'")
    if create and kind == "dir" and not re.fullmatch(r"/[-/a-zA-Z0-9_.@]+", found["path"]):
        raise failure(f"illegal path for directory storage: {found['path']}")
    return found


def call_type(key: str) -> str:
    """The schema's type of an option."""
    from ..surface import parameters

    return str(parameters("POST", "/storage").get(key, {}).get("type"))


def _content(kind: str, text: str) -> str:
    valid = CONTENT.get(kind, {"images", "rootdir", "vztmpl", "iso", "backup", "snippets", "none", "import"})
    wanted = {item for item in split_list(text) if item in valid}
    if "none" in wanted and len(wanted) > 1:
        raise failure("unable to combine 'none' with other content types")
    if not wanted and "none" not in valid:
        raise failure("storage does not support content type 'none'")
    return ",".join(sorted(wanted))


@route("POST", "/storage")
def create(call: Call) -> dict[str, Any]:
    new = dict(call.params)
    kind, sid = str(new.pop("type")), str(new.pop("storage"))
    if kind not in TYPES:
        raise failure(f"create storage failed: pvelab has no storage of type '{kind}'")
    config = _checked(call, kind, new, True)
    config.setdefault("content", DEFAULT_CONTENT[kind])
    with call.pve.storages.lock:
        if sid in call.pve.storages.data:
            raise failure(f"create storage failed: storage ID '{sid}' already defined")
        call.pve.storages.data = {**call.pve.storages.data, sid: {"type": kind, **config}}
        call.pve.storages.save()
    return {"storage": sid, "type": kind}


@route("PUT", "/storage/{storage}")
def update(call: Call) -> dict[str, Any]:
    new = {k: v for k, v in call.params.items() if k not in ("storage", "digest", "delete")}
    delete, sid = split_list(str(call.get("delete", ""))), str(call["storage"])
    failed = "update storage failed: "
    with call.pve.storages.lock:
        if call.has("digest") and call["digest"] != digest(call):
            raise failure(f"{failed}detected modified configuration - file changed by other user? Try again.")
        old = call.pve.storages.data.get(sid)
        if old is None:
            raise failure(f"{failed}storage '{sid}' does not exist")
        try:
            config = _checked(call, old["type"], new, False)
            _check_delete(old["type"], delete, config)
        except Exception as error:
            raise failure(f"{failed}{str(error).strip()}") from None
        kept = {k: v for k, v in old.items() if k not in delete}
        call.pve.storages.data = {**call.pve.storages.data, sid: {**kept, **config}}
        call.pve.storages.save()
    return {"storage": sid, "type": old["type"]}


def _check_delete(kind: str, delete: list[str], new: dict[str, Any]) -> None:
    required, optional = (set(part.split()) for part in TYPES[kind])
    for key in delete:
        if key not in required | optional:
            raise failure(f"no such option '{key}'")
        if key in required:
            raise failure(f"unable to delete required option '{key}'")
        if key in new:
            raise failure(f"cannot set and delete property '{key}' at the same time!")


@route("DELETE", "/storage/{storage}")
def delete(call: Call) -> None:
    sid = str(call["storage"])
    with call.pve.storages.lock:
        if sid not in call.pve.storages.data:
            raise failure(f"delete storage failed: storage '{sid}' does not exist")
        call.pve.storages.data = {k: v for k, v in call.pve.storages.data.items() if k != sid}
        call.pve.storages.save()
    with call.pve.users.lock:
        call.pve.users.data["acl"].pop(f"/storage/{sid}", None)
        for pool in call.pve.users.data["pools"].values():
            if sid in pool["storage"]:
                pool["storage"].remove(sid)
        call.pve.users.save()
