"""The manifest is written anew when something was made as declared."""

from __future__ import annotations

from typing import Any

from aihub.guests.probe.parts.containers import every_container, unnamed
from aihub.guests.probe.parts.leaving import is_used, retire
from aihub.guests.probe.parts.manifest import FORMAT, read_manifest, states, write_manifest


def record(request: dict[str, Any]) -> dict[str, Any]:
    """Writes the manifest anew for the given entries; forgets those that nobody wants any more.

    What is known is recorded as it was to be, so that nothing that somebody changed meanwhile counts as ours: files as
    they were placed, rules as they were loaded, and of a definition that is the same whether its units start at boot.
    A stack is forgotten only by the run that has just taken it away: until then it is still here. A role goes now, its
    units and its files; what its packages brought stays, but does not run.
    """
    gone = {"stack/" + name for name in request.get("stacks_gone", ())}
    old, every = read_manifest(), every_container()
    wanted, made_from = request["desired"], request.get("made_from", {})
    now = states(request["entries"], every)
    for key, entry in now.items():
        same = old["desired"].get(key) == wanted.get(key)
        settle(entry, request["entries"][key], old["entries"].get(key, {}), old.get("placed", {}).get(key, {}), same)
    left = {key for key in old["entries"] if key.startswith("stack/") and key not in gone}
    for key, value in old["entries"].items():
        if key not in wanted and not key.startswith("stack/"):
            if is_used(value, bool(every)):
                left.add(key)
            else:
                retire(value)
    entries = {key: value for key, value in old["entries"].items() if key in wanted or key in left} | now
    desired = {key: wanted[key] if key in now and key in wanted else old["desired"].get(key, "") for key in entries}
    before = old.get("made_from", {})
    parts = {key: made_from.get(key, {}) if key in now else before.get(key, {}) for key in entries}
    new = {"format": FORMAT, "desired": desired, "entries": entries, "made_from": parts}
    changed = new != {key: value for key, value in old.items() if key not in ("placed", "volumes")}
    placed = {key: files for key, files in old.get("placed", {}).items() if key in wanted and key not in now}
    if placed:
        new["placed"] = placed
    volumes = {stack: names for stack, names in old.get("volumes", {}).items() if "stack/" + stack in left - now.keys()}
    volumes |= {stack: names for stack, names in unnamed(every).items() if "stack/" + stack in now}
    if volumes:
        new["volumes"] = volumes
    if new != old:
        write_manifest(new)
    return {"changed": changed}


def settle(
    now: dict[str, Any], asked: dict[str, Any], before: dict[str, Any], placed: dict[str, Any], same: bool
) -> None:
    """Puts what is known in place of what was found; `before` is the last record."""
    for path in now["files"]:
        known = placed.get(path) or before.get("files", {}).get(path)
        now["files"][path] = known or now["files"][path]
    for table, loaded in asked["tables"].items() if isinstance(asked.get("tables"), dict) else ():
        now["tables"][table] = loaded or now["tables"][table]
    for kind in ("units", "boot_units") if same else ():
        for name, state in now[kind].items():
            state["boot"] = before.get(kind, {}).get(name, state)["boot"]
