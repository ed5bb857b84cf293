"""Files are made as wanted, and the manifest says so before."""

from __future__ import annotations

import os
from typing import Any

from aihub.guests.probe.parts.files import place_one, remove, state_of
from aihub.guests.probe.parts.manifest import UNFINISHED, read_manifest, write_manifest


def place(request: dict[str, Any]) -> dict[str, Any]:
    """Makes files and directories as wanted; answers with the paths of those that were not, and of files that the
    manifest lists for an entry and that are no longer of it: they are removed.

    With `role`, the manifest first says that the role is unfinished, until `record` says what it left: a run that
    dies in between has files in place that no service has read yet, and the next run must hear of a change again.
    """
    check, role = bool(request.get("check")), request.get("role")
    changed = [wanted["path"] for wanted in request["wanted"] if place_one(wanted, True)]
    manifest = read_manifest()
    stale = leftovers(request, manifest)
    changed += stale
    left = bool(role) and manifest["desired"].get(role) == UNFINISHED
    if not check:
        begun = promise(request, manifest)
        if changed and role and not left:
            manifest["desired"][role] = UNFINISHED
            begun = True
        if begun:
            write_manifest(manifest)
    if changed and not check:
        for wanted in request["wanted"]:
            place_one(wanted, False)
        for path in stale:
            remove(path)
    return {"changed": [*changed, *([f"{role}: unfinished"] if left else [])], "system": system()}


def system() -> str:
    """The distribution, as it calls itself: `debian` or `ubuntu`."""
    with open("/etc/os-release") as file:
        return next((line[3:].strip().strip('"') for line in file if line.startswith("ID=")), "")


def promise(request: dict[str, Any], manifest: dict[str, Any]) -> bool:
    """Notes in the manifest how files are to be, where it does not say so yet; tells whether it is to be written."""
    wanted = {one["path"]: state_of(one) for one in request["wanted"]}
    lists = request.get("lists") or ({request["role"]: list(wanted)} if request.get("role") else {})
    before = manifest.get("placed", {})
    placed = dict(before)
    for key, paths in lists.items():
        now = {path: wanted[path] for path in paths if path in wanted}
        known = {**manifest["entries"].get(key, {}).get("files", {}), **before.get(key, {})}
        if any(known.get(path) != state for path, state in now.items()):
            placed[key] = now
    if placed != before:
        manifest["placed"] = placed
    return bool(placed != before)


def leftovers(request: dict[str, Any], manifest: dict[str, Any]) -> list[str]:
    """Files that an earlier run placed for the entries of this request, and that nobody wants now."""
    wanted = {one["path"] for one in request["wanted"]}
    lists = request.get("lists") or ({request["role"]: wanted} if request.get("role") else {})
    wanted.update(path for paths in lists.values() for path in paths)
    for key, entry in manifest["entries"].items():
        wanted.update(() if key in lists else entry.get("files", ()))
    listed = {path for key in lists for path in manifest["entries"].get(key, {}).get("files", ())}
    return sorted(path for path in listed - wanted if os.path.islink(path) or os.path.isfile(path))
