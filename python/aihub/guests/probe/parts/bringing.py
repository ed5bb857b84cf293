"""Instances are made as declared and run."""

from __future__ import annotations

import re
from typing import Any

from aihub.guests.probe.parts.containers import clear_networks, clear_volumes
from aihub.guests.probe.parts.manifest import read_manifest
from aihub.guests.probe.parts.places import HOME
from aihub.guests.probe.parts.placing import place
from aihub.guests.probe.parts.recording import record
from aihub.guests.probe.parts.units import reload_units, tell, unit_of, unit_states

BUILT = " built from"  # how the parts end that say what an image was built from, where its tag does not


def bring(request: dict[str, Any]) -> dict[str, Any]:
    """Instances are as declared and run, one after the other, and are recorded at once; answers with what was changed,
    and with what those said that did not start: they keep no other from it, and are not recorded.
    """
    changed = place(request)["changed"]
    if request.get("check"):
        return {"changed": changed, "failed": {}}
    failed: dict[str, str] = {}
    remembered = read_manifest().get("volumes", {})
    if request["networks"]:
        reload_units([unit_of(name) for name in request["networks"]])
    for name, networks in request["networks"].items():
        try:
            if is_built_anew(request, name):
                tell(["docker", "compose", "pull", "--quiet"], f"{HOME}/{name}")
            changed += start(name)
            changed += clear_networks(name, networks)
            changed += clear_volumes(remembered.get(name, []))
        except RuntimeError as error:
            failed[name] = str(error)
    entries = {key: entry for key, entry in request["entries"].items() if key.partition("/")[2] not in failed}
    record({**request, "entries": entries})
    return {"changed": changed, "failed": failed}


def is_built_anew(request: dict[str, Any], stack: str) -> bool:
    """Whether an image may be another one under the same name: Docker takes the one that it has."""
    key = "stack/" + stack
    before, now = read_manifest().get("made_from", {}), request.get("made_from", {})
    old, new = ({p: t for p, t in found.get(key, {}).items() if p.endswith(BUILT)} for found in (before, now))
    return bool(new) and old != new


def start(stack: str) -> list[str]:
    """The unit of a stack has started it and does so at boot; the containers of one that ran before are as declared."""
    unit = unit_of(stack)
    state = unit_states([unit])[unit]
    changed = []
    if state["boot"] != "enabled":
        tell(["systemctl", "enable", unit])
        changed.append(f"{unit}: enabled")
    if state["active"] == "activating":
        tell(["systemctl", "stop", unit])  # one that failed tries again by itself, and would make the same containers
    if state["active"] not in ("active", "reloading"):
        tell(["systemctl", "start", unit])
        return [*changed, f"{unit}: started"]
    up = ["docker", "compose", "up", "--detach", "--wait", "--remove-orphans", "--quiet-pull"]
    lines = tell(up, f"{HOME}/{stack}").splitlines()
    return [*changed, *(one.strip() for one in lines if re.search(" (Created|Recreated|Started)", one))]
