"""The manifest: what aihub manages on a guest, and how it was left."""

from __future__ import annotations

import json
from typing import Any

from aihub.guests.probe.parts.containers import containers
from aihub.guests.probe.parts.files import file_state, write
from aihub.guests.probe.parts.places import MANIFEST
from aihub.guests.probe.parts.tables import table_state
from aihub.guests.probe.parts.units import held, unit_states

FORMAT = 1
UNFINISHED = "unfinished"  # what the manifest holds as a role's hash while its files are being placed


def read_manifest() -> dict[str, Any]:
    """The manifest, or an empty one when there is none that this program understands."""
    try:
        with open(MANIFEST) as handle:
            found: dict[str, Any] = json.load(handle)
        if found["format"] == FORMAT:
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"format": FORMAT, "desired": {}, "entries": {}}


def write_manifest(manifest: dict[str, Any]) -> None:
    """Replaces the manifest, readable by root only."""
    write(MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode(), "0600", "0:0", [])


def states(entries: dict[str, dict[str, Any]], every: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The state of everything managed, in the shape of the entries; `every` are the containers that are there."""
    kinds = ("units", "boot_units")
    names = sorted({name for entry in entries.values() for kind in kinds for name in entry.get(kind, ())})
    units = unit_states(names) if names else {}
    projects = containers(every)
    holds = held() if any(entry.get("holds") for entry in entries.values()) else set()
    return {
        key: {
            "files": {path: file_state(path) for path in entry.get("files", ())},
            "units": {name: units[name] for name in entry.get("units", ())},
            "boot_units": {name: {"boot": units[name]["boot"]} for name in entry.get("boot_units", ())},
            "tables": {name: table_state(name) for name in entry.get("tables", ())},
            "stacks": {name: projects.get(name, {}) for name in entry.get("stacks", ())},
            **({"holds": {name: name in holds for name in entry["holds"]}} if entry.get("holds") else {}),
            **({"folders": list(entry["folders"])} if entry.get("folders") else {}),
        }
        for key, entry in entries.items()
    }
